"""Mutation testing: which changes to the code does no unit test notice? See docs/design/mutation.md."""
