"""Answers from an exported ONNX file. Nothing here imports torch."""

from backmix.onnx_model.model import OnnxModel

__all__ = ["OnnxModel"]
