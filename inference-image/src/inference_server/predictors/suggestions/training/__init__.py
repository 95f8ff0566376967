"""Training of the suggestion model."""
