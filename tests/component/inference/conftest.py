"""Fixtures of the inference server's tests."""

from tests.support.trained import artifacts, trained_artifacts

__all__ = ["artifacts", "trained_artifacts"]
