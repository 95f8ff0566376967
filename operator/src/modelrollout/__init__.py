"""ModelRollout: the resource, its operator and the kubectl plugin."""

__version__ = "0.2.0"
"""The one version of everything that is released together: `hack/generate` copies it to the charts and to the
inference server."""
