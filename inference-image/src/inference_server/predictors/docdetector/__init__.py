"""The documentation detector: whether a piece of code, and which of its items, is documented.

Detection is a library of its own: it imports nothing of the server.
"""
