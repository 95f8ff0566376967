"""Checks of a running server, made to run as Jobs: an exit code and one line of JSON."""
