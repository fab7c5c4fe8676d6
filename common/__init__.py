"""What is inside the boxes of the patterns' diagrams, and nothing else.

Copy this folder beside a pattern's folder; to swap the model, replace the folder `domain/` and the `.onnx` file.
"""

import os

# No telemetry of onnxruntime. It reads this when it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# numpy would start a thread per CPU for products of large matrices: none are here, and threads take time to start.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# gRPC's core writes lines of its own to stderr, and every line of our logs is to be JSON.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
