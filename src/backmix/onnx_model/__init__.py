"""Answer images with an exported ONNX file. This package does not import torch."""

from backmix.onnx_model.model import OnnxModel

__all__ = ["OnnxModel"]
