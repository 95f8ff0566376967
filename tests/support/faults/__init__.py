"""Seeded faults between the operator and a real API server, and what must hold all the same."""
