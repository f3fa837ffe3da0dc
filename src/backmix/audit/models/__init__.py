"""The models that an audit can look at: our runs and classifiers, ONNX, TorchScript, timm, any callable."""
