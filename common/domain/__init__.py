"""What is read: the one folder to replace for a model of your own. Imports numpy, pydantic and Pillow only.

Everything else uses these names, and nothing else from inside this folder:

| name | what it is |
|---|---|
| `TITLE`, `DESCRIPTION` | what a prediction does, for OpenAPI and the playground |
| `Input`, `Output`, `ModelRef` | pydantic models: one item, its prediction, and the model that made it |
| `EXAMPLE`, `EXPECTED` | an `Input` as a JSON object, and the sentence about it that errors end with |
| `MEDIA_TYPES` | binary bodies: media type -> `decode(data, max_pixels)`, which gives one row; may be empty |
| `ROW` | a structured dtype: one item as the model takes it, a field for each of the model's inputs, in order |
| `to_rows(items)` | `Input`s -> an array of `ROW`s |
| `to_input(row)` | a row -> the fields of an `Input` |
| `COLUMNS` | for batch: the fields of `Input`, and how many numbers each has; 0: a single number |
| `check_columns(columns)` | for batch: (which items are accepted, the reason to reject the others), rule by rule |
| `from_columns(columns)` | for batch: arrays by field -> an array of `ROW`s |
| `OUTPUT` | how the graph names the output that holds the prediction |
| `LABELS` | the classes, in the order of the model's scores; empty for a regression |
| `scores(outputs)` | the model's outputs by name -> the array that holds the prediction, a row for each item |
| `to_outputs(scores, model)` | these scores -> the fields of each `Output` |
| `check(model)` | why a model does not fit, as the end of a sentence that begins with its name; None if it fits |

A function that gets something it cannot read raises ValueError. Its attribute `status`, where it has one, is the HTTP
status (otherwise 422), and `item` the number of the item in a list.
"""

from common.domain.digits import (
    COLUMNS,
    DESCRIPTION,
    EXAMPLE,
    EXPECTED,
    LABELS,
    MEDIA_TYPES,
    OUTPUT,
    ROW,
    TITLE,
    Digit as Output,
    ModelRef,
    Picture as Input,
    check,
    check_columns,
    from_columns,
    scores,
    to_input,
    to_outputs,
    to_rows,
)

__all__ = [
    "COLUMNS",
    "DESCRIPTION",
    "EXAMPLE",
    "EXPECTED",
    "LABELS",
    "MEDIA_TYPES",
    "OUTPUT",
    "ROW",
    "TITLE",
    "Input",
    "ModelRef",
    "Output",
    "check",
    "check_columns",
    "from_columns",
    "scores",
    "to_input",
    "to_outputs",
    "to_rows",
]
