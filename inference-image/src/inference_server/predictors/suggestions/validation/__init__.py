"""Validation suites of the suggestion system."""
