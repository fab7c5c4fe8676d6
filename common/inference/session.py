"""An onnxruntime session that fits into a container: its threads, its memory, its errors."""

import onnxruntime as ort

from common.inference.model_file import ModelError, ModelFile


def open_session(file: ModelFile, threads: int) -> ort.InferenceSession:
    """Load a model to run on `threads` threads; raises `ModelError` if it is none."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # an arena never shrinks: varying shapes would only ever add to it
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads must not eat the quota
    options.log_severity_level = 4  # what goes wrong is raised, and logged by whoever handles it
    try:
        return ort.InferenceSession(file.source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise ModelError(f"{file.name} is no ONNX model that can be run ({reason(error)}): export it again") from None


def reason(error: Exception) -> str:
    """An exception's first line, without onnxruntime's code in front."""
    text = str(getattr(error, "detail", error)).strip() or type(error).__name__
    return text.splitlines()[0].rpartition(" : ")[2]
