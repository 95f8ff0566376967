"""Suggestions: a category for each bank transaction, by rules and, where it is allowed to, by a model."""
