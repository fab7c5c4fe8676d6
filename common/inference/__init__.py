"""Any ONNX model: load, warm up, batch, predict; knows no domain and no protocol. Imports `service`."""
