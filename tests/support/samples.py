"""A seven as pixels, as JSON and as PNG, a smudge, and the model that reads them."""

from typing import Any

from common.domain.digits import SEVEN
from tests.support.processes import ROOT

SAMPLES = ROOT / "common" / "samples"
MLP = ROOT / "common" / "models" / "mlp.onnx"
PNG = {"Content-Type": "image/png"}
SEVEN_PIXELS: list[float] = [float(cell) for row in SEVEN for cell in row]
SEVEN_JSON: dict[str, Any] = {"pixels": SEVEN_PIXELS}
SEVEN_PNG = (SAMPLES / "seven.png").read_bytes()
SMUDGE_PNG = (SAMPLES / "smudge.png").read_bytes()
