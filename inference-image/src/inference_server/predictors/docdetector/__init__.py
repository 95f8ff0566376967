"""The documentation detector: does this piece of code contain documentation, and which of its items do?

Detection is a library of its own: it imports nothing of the server.
"""
