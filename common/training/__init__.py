"""Trains the readers and exports them to ONNX: `python -m common.training`. No service imports this package."""
