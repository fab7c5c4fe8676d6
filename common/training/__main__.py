"""Trains every model and writes it with its card: `python -m common.training [FOLDER]`, by default common/models."""

import json
import sys
import time
from pathlib import Path

from rich.console import Console

from common.training.data import material
from common.training.export import card, export
from common.training.measure import quality_figures, reader_figures, runner
from common.training.models import MODELS
from common.training.samples import write_samples

COMMON = Path(__file__).parent.parent


def train(models: Path, samples: Path) -> None:
    """Writes `NAME.onnx` and `NAME.json` of every model into `models`, and the PNGs to try into `samples`."""
    console = Console(stderr=True)
    with console.status("drawing digits and warping scans"):
        rows = material()
    for name, learn in MODELS.items():  # mlp first: the others are compared with it where its confidence is low
        start = time.perf_counter()
        with console.status(f"training {name}"):
            trained = learn(rows)
            model = export(trained, name)
        run = runner(model)
        if name == "mlp":
            everyday = run
        figures = quality_figures(run) if name == "quality" else reader_figures(run, everyday)
        (models / f"{name}.onnx").write_bytes(model)
        fields = card(name, model, trained, figures).items()
        lines = ",\n".join(f'  "{key}": {json.dumps(value)}' for key, value in fields)  # a line a field, to be read
        (models / f"{name}.json").write_text(f"{{\n{lines}\n}}\n")
        console.print(f"{name:<12}{len(model) / 1e6:5.2f} MB  {time.perf_counter() - start:4.0f} s  {figures}")
    write_samples(samples, everyday)


def main() -> None:
    """Trains into the folder on the command line, or into this package's own."""
    models, samples = COMMON / "models", COMMON / "samples"
    if len(sys.argv) > 1:
        models = samples = Path(sys.argv[1])
    models.mkdir(parents=True, exist_ok=True)
    samples.mkdir(parents=True, exist_ok=True)
    train(models, samples)


if __name__ == "__main__":
    main()
