"""Where the model comes from: a path in the image, or an http(s) URL read at start.

Both are the same setting (`MODEL_URI`). If `MODEL_SHA256` is set, the file must have that hash, so that a downloaded
model is the one that was released.
"""

import hashlib
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path, PurePosixPath
from queue import Empty, SimpleQueue
from threading import Thread
from urllib.parse import urlsplit

from common.service.masking import mask_urls

DYNAMIC_QUANTIZATION = (b"DynamicQuantize",)
"""How the names of such operators begin; an ONNX file holds them as they are."""
CONTROL_FLOW = (b'"\x04Loop*', b'"\x02If*')
"""Such an operator in a file: the tag of its name (field 4 of a NodeProto), its length, and the tag of attributes."""


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


def has_operator(file: ModelFile, names: tuple[bytes, ...]) -> bool:
    """Whether the file has one of these: `DYNAMIC_QUANTIZATION`, `CONTROL_FLOW`."""
    if isinstance(file.source, bytes):
        return any(name in file.source for name in names)
    with Path(file.source).open("rb") as opened, mmap(opened.fileno(), 0, access=ACCESS_READ) as content:
        return any(content.find(name) >= 0 for name in names)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        line = mask_urls(f"no model at {path} ({error.strerror})")
        raise ModelError(f"{line}: set MODEL_URI to an .onnx file, or its http(s) URL") from None


def _download(url: str, timeout_seconds: float) -> bytes:
    """The file, or `ModelError` once the time is over, whatever the server does.

    httpx limits the wait for each part only: a server that sends a byte now and then, of its headers too, never ends.
    """
    outcome: SimpleQueue[bytes | ModelError] = SimpleQueue()
    Thread(target=lambda: outcome.put(_read(url)), daemon=True).start()
    try:
        content = outcome.get(timeout=timeout_seconds)
    except Empty:
        content = _no_model(url, "it took longer than MODEL_DOWNLOAD_TIMEOUT_SECONDS")
    if isinstance(content, ModelError):
        raise content
    return content


def _read(url: str) -> bytes | ModelError:
    import httpx  # here, since it costs every other start a tenth of its time

    try:
        return httpx.get(url, timeout=None, follow_redirects=True).raise_for_status().content
    except Exception as error:  # no other thread would see it
        return _no_model(url, " ".join(str(error).split()) or type(error).__name__)


def _no_model(url: str, reason: str) -> ModelError:
    return ModelError(f"{mask_urls(f'no model at {url} ({reason})')}: set MODEL_URI to an .onnx file that can be read")
