"""Sentence encoders behind one small interface, chosen by a short specification."""

from inference_server.encoders.base import Encoder
from inference_server.encoders.hashing import HashingEncoder
from inference_server.encoders.resolve import resolve_encoder

__all__ = ["Encoder", "HashingEncoder", "resolve_encoder"]
