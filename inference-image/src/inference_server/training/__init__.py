"""Training and evaluation; never imported by the serving path."""
