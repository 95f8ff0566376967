"""The inference server: it serves text classifiers and exports the metrics that a ModelRollout needs."""

__version__ = "0.2.0"
"""Copied from operator/src/modelrollout/__init__.py by `make generate`; do not edit."""
