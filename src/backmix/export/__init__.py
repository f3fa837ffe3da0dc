"""Export a classifier as one ONNX or TorchScript file, which answers without backmix and is checked against PyTorch.

`module` is the module that is exported, `program` captures it once for both formats, `to_onnx` and `to_torchscript`
write it, `agreement` compares a file with PyTorch, and `export` does all of this. `backmix.onnx_model.contract` defines
the content and the outputs of a file. `backmix.onnx_model` answers from an ONNX file, and does not need torch.
"""
