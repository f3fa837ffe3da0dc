"""One file that answers a class or "unknown" without backmix: ONNX or TorchScript, checked against PyTorch.

`contract` says what such a file holds and gives, `module` is what is exported, `program` captures it once for both
formats, `to_onnx` and `to_torchscript` write it, `agreement` compares a file with PyTorch, `export` does all of it.
`contract` and `onnx_check` do without torch, as `backmix.onnx_model.model` does, which answers from an ONNX file.
"""
