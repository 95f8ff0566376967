"""Sentence encoders behind one small interface."""
