"""The models that can be audited: runs and classifiers of backmix, ONNX, TorchScript, timm, and Python functions."""
