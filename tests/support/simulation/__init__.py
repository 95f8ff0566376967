"""Deterministic simulation of the operator: real code on a virtual clock, all around it in memory.

`make simulate` runs seeds; `docs/design/simulation.md` says what it can see.
"""
