"""Validation suites of the emotion classifier."""
