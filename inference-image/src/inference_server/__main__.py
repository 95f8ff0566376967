"""``python -m inference_server`` is the same as ``inference-server``."""

from inference_server.cli import main

main()
