"""The Open Inference Protocol (KServe v2) for any ONNX model: REST, gRPC, tensors. Imports `service`, `inference`."""
