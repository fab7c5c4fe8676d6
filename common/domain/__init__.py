"""What is read, here handwritten digits: the one folder to replace. Imports numpy, pydantic, Pillow; nothing of common.

Everything else uses the names below and nothing from inside this folder, so a folder with the same names takes its
place: `examples/iris/domain/` is one such folder. A *row* is one item as the model takes it. Rows are a dict from the
name of a model's input to an array whose first axis counts the items; so a model may have several inputs. All rows have
the shapes and dtypes of the example's. Strings have a dtype with a width, such as `<U20`, and none is longer.

Documentation, also in OpenAPI and on the playground:
    TITLE, DESCRIPTION      what `POST /predict` does, in a few words and in a sentence
    EXAMPLE                 an item in JSON
    EXPECTED                what an item looks like: the end of every error about one

One item in, one prediction out, as pydantic models. Their names are shown in OpenAPI and in errors:
    Input                   an item; its validators reject what the model must not get
    Output                  a prediction; its field `model` is a `ModelRef`
    ModelRef                which model answered: `name` and `version`
    LABEL                   the field of `Output` with the label, or with the number of a regression
    LABELS                  the labels, strings, in the order of the model's probabilities; empty for a regression

Conversions:
    to_rows(items)          a list of `Input` -> rows
    to_items(rows)          the opposite
    to_outputs(outputs, model)
                            the model's outputs, by name, and a `ModelRef` -> for each row the fields of an `Output`,
                            as a dict: it becomes JSON without another check
    MEDIA_TYPES             by media type, a function of (bytes, `Settings`) -> the rows of one item; may be empty.
                            Batch reads a column `image` with the first of them
    Settings                what these functions can be set to, as environment variables
    from_columns(columns)   columns of a data set, float32, named like the fields of `Input` -> (rows, reasons):
                            `reasons[i]` is None if row i is accepted, else why it is rejected; an empty `reasons`
                            accepts every row. A boolean is 0 or 1, a missing number NaN. Only for batch, and only
                            where each field of the example is a number, a boolean, or a list of them
    to_columns(outputs)     the model's outputs -> columns of a data set

The model:
    OUTPUTS                 the outputs that predictions are made of. If `LABELS` are given, the first holds their
                            probabilities
    check(model)            why a model does not fit, in one sentence, or None; a model has `name`, `inputs`, `outputs`
                            (each with `name`, `dtype`, `shape`, `labels`), `run(rows)`

`check` need not look at dtypes: floats are never passed to a model as integers. Where another service sends the rows,
the model's inputs must have exactly their dtypes and shapes.

What cannot be read is a ValueError that says why; its attribute `status`, where it has one, is the HTTP status (else
422).
"""

from common.domain.digits import (
    DESCRIPTION,
    EXAMPLE,
    EXPECTED,
    LABEL,
    LABELS,
    MEDIA_TYPES,
    OUTPUTS,
    TITLE,
    Digit as Output,
    ModelRef,
    Picture as Input,
    Settings,
    check,
    from_columns,
    to_columns,
    to_items,
    to_outputs,
    to_rows,
)

__all__ = [
    "DESCRIPTION",
    "EXAMPLE",
    "EXPECTED",
    "LABEL",
    "LABELS",
    "MEDIA_TYPES",
    "OUTPUTS",
    "TITLE",
    "Input",
    "ModelRef",
    "Output",
    "Settings",
    "check",
    "from_columns",
    "to_columns",
    "to_items",
    "to_outputs",
    "to_rows",
]
