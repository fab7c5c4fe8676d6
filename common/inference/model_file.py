"""Where the model comes from: a path in the image, or an http(s) URL read at start.

Both are the same setting (`MODEL_URI`). If `MODEL_SHA256` is set, the file must have that hash, so that a downloaded
model is the one that was released.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path, PurePosixPath
from time import monotonic
from urllib.parse import urlsplit

from common.service.masking import mask_urls

DYNAMIC_QUANTIZATION = b"DynamicQuantize"
"""How the names of such operators begin; an ONNX file holds them as they are."""


class ModelError(Exception):
    """The model cannot be served; the message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """An ONNX file that was read: the name that its path suggests, its path or its bytes, and its sha256 in hex."""

    name: str
    source: str | bytes
    sha256: str


def read_model_file(uri: str, sha256: str | None = None, timeout_seconds: float = 30.0) -> ModelFile:
    """Read a model from a path or an http(s) URL; raises `ModelError` if it is missing or has another hash."""
    if uri.startswith(("http://", "https://")):
        content = _download(uri, timeout_seconds)
        file = ModelFile(
            PurePosixPath(urlsplit(uri).path).stem or "model", content, hashlib.sha256(content).hexdigest()
        )
    else:  # not its bytes, which onnxruntime would keep beside its own copy
        path = Path(uri.removeprefix("file://"))
        file = ModelFile(path.stem, str(path), _sha256(path))
    if sha256 is not None and file.sha256 != sha256:
        got = f"has sha256 {file.sha256}, but MODEL_SHA256 is {sha256}"
        raise ModelError(f"the model at {mask_urls(uri)} {got}: correct one of them")
    return file


def has_dynamic_quantization(file: ModelFile) -> bool:
    """Whether the graph has an operator such as DynamicQuantizeLinear, which takes its scale from all rows of a run."""
    if isinstance(file.source, bytes):
        return DYNAMIC_QUANTIZATION in file.source
    with Path(file.source).open("rb") as opened, mmap(opened.fileno(), 0, access=ACCESS_READ) as content:
        return content.find(DYNAMIC_QUANTIZATION) >= 0


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"no model at {path} ({error.strerror}): set MODEL_URI to an .onnx file") from None


def _download(url: str, timeout_seconds: float) -> bytes:
    import httpx  # here, since it costs every other start a tenth of its time

    end = monotonic() + timeout_seconds
    try:
        with httpx.stream("GET", url, timeout=timeout_seconds, follow_redirects=True) as response:
            response.raise_for_status()
            return b"".join(_until(end, response.iter_bytes()))
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        line = mask_urls(f"no model at {url} ({reason})")
        raise ModelError(f"{line}: set MODEL_URI to an .onnx file that can be read") from None


def _until(end: float, parts: Iterator[bytes]) -> Iterator[bytes]:
    """The parts of a download; raises TimeoutError if they still come after `end`: httpx limits the wait for each."""
    for part in parts:
        if monotonic() > end:
            raise TimeoutError("it took longer than MODEL_DOWNLOAD_TIMEOUT_SECONDS")
        yield part
