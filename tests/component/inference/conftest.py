"""Fixtures of the inference server's tests."""

from tests.support.suggestions import run_registry, trained_registry
from tests.support.trained import artifacts, trained_artifacts

__all__ = ["artifacts", "run_registry", "trained_artifacts", "trained_registry"]
