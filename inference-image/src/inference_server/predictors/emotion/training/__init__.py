"""Training of the emotion classifier."""
