"""The emotion classifier: eight feelings in French and English messages."""
