"""The model of a job: rows of the domain in, columns of the output out. Loaded once in each process."""

from functools import cache, cached_property

import numpy as np
import pyarrow as pa

from common import domain
from common.inference.model import Model
from common.inference.model_file import ModelError, ModelFile, read_model_file
from common.inference.tensor_spec import Tensors
from common.prediction.domain_model import DomainModel
from common.prediction.payload import EXAMPLE_ROWS, count
from common.service.masking import mask_urls


class ChunkModel:
    """The model, and the columns that it gives; raises `ModelError` if the two do not fit."""

    def __init__(self, model: Model) -> None:
        self._model, self._domain_model = model, DomainModel(model)
        if self._domain_model.misfit:
            raise ModelError(self._domain_model.misfit)
        self.version = model.version
        try:
            self._example = self.predict(EXAMPLE_ROWS)
        except Exception as error:  # whatever the domain's `to_columns` makes of them
            why = f"{type(error).__name__}: {error}".removesuffix(": ")
            raise ModelError(
                f"common/domain/ makes no columns of the outputs of the model {model.name} ({why})"
            ) from None

    @cached_property
    def fields(self) -> list[pa.Field]:
        """The columns' names and types."""
        return [pa.field(name, pa.array(values).type) for name, values in self._example.items()]

    def predict(self, rows: Tensors) -> Tensors:
        """The domain's columns for these rows."""
        inputs = self._domain_model.to_inputs(rows)
        if self._model.rows_are_independent or count(rows) <= 1:
            outputs = self._model.run(inputs)
        else:  # a row's result must not depend on its chunk
            every = [self._model.run({name: v[i : i + 1] for name, v in inputs.items()}) for i in range(count(rows))]
            outputs = {name: np.concatenate([one[name] for one in every]) for name in every[0]}
        return domain.to_columns(self._domain_model.to_tensors(outputs))


def check_model(file: ModelFile, batching: str) -> None:
    """Raises `ModelError` if the model cannot be served, or does not fit the domain."""
    ChunkModel(Model(file, batching=batching))


@cache
def load_chunk_model(uri: str, sha256: str, download_seconds: float, batching: str) -> ChunkModel:
    """Loaded once in a process. Raises `ModelError` if the file is not the one that the run began with."""
    file = read_model_file(uri, timeout_seconds=download_seconds)
    model = ChunkModel(Model(file, threads=1, batching=batching))
    # A file may have changed while it was loaded.
    after = file if isinstance(file.source, bytes) else read_model_file(uri)
    if {file.sha256, after.sha256} != {sha256}:
        raise ModelError(f"the model at {mask_urls(uri)} has changed since the run began: retry the run with `all`")
    return model
