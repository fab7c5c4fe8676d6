"""Which columns of a Parquet file are read, and how the types of other tools become plain ones.

A column is found by its name, or else by its name in another case. Settings such as `COLUMN_ID` name it if it has
another name.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batch.dataset.files import DataError
from common import domain


def _values(field: object) -> list[object]:
    return field if isinstance(field, list) else [field]


def _is_numeric(field: object) -> bool:
    """Whether a field of the example is a number or a boolean, or a list of them."""
    return all(one is None or isinstance(one, int | float) for one in _values(field))


def _describe(name: str) -> str:
    if name in BOOLEANS:
        return f"a list of {LENGTHS[name]} booleans or numbers" if LENGTHS[name] else "a boolean or a number"
    return f"a list of {LENGTHS[name]} float32" if LENGTHS[name] else "a number"


IMAGE = "image"
LENGTHS = {name: len(value) if isinstance(value, list) else 0 for name, value in domain.EXAMPLE.items()}
"""The length of the lists by column; 0: the column holds no lists."""
BOOLEANS = {name for name, value in domain.EXAMPLE.items() if any(isinstance(one, bool) for one in _values(value))}
"""The columns that may hold booleans."""
NOT_COLUMNS = [name for name, value in domain.EXAMPLE.items() if not _is_numeric(value)]
"""Fields that no column can hold: text, objects, lists of them. Such a domain is read from images only."""
_COLUMNS = ", ".join(f"{name} ({_describe(name)})" for name in LENGTHS)
_FORMS = (
    "" if NOT_COLUMNS else f"id and {_COLUMNS}",
    f"id and {IMAGE} (the bytes of one, as POST /predict takes them)" if domain.MEDIA_TYPES else "",
)
EXPECTED = f"expected the columns {', or '.join(filter(None, _FORMS))}"
_OTHER = (IMAGE if NOT_COLUMNS else next(iter(LENGTHS))).upper()


def require_columns() -> None:
    """Raises `DataError` if no file could be read, since the domain has fields that are no columns, and no images."""
    if NOT_COLUMNS and not domain.MEDIA_TYPES:
        raise DataError(
            f"common/domain/ has the field {NOT_COLUMNS[0]}, which is neither a number nor a list of numbers: "
            "batch cannot read it from a column"
        )


def input_columns(schema: pa.Schema, given: Mapping[str, str] | None = None) -> dict[str, str]:
    """`id` and the other columns to read, with their names in the file. `given`: the names that are set.

    Raises ValueError if a column is missing, is there twice, or has another type.
    """
    found = {name: _find(schema.names, name, given or {}) for name in ("id", *LENGTHS, IMAGE)}
    columns = {name: other for name, other in found.items() if other}
    if not NOT_COLUMNS and {"id", *LENGTHS} <= {*columns}:
        for name, size in LENGTHS.items():
            kind = _plain_type(schema.field(columns[name]).type)
            one = kind.value_type if size and _is_list(kind) else kind
            fits = _is_number(one) or (name in BOOLEANS and pa.types.is_boolean(one))
            if not fits or bool(size) != _is_list(kind):
                raise ValueError(f"{EXPECTED}; got {columns[name]} as {schema.field(columns[name]).type}")
        return {name: columns[name] for name in ("id", *LENGTHS)}
    if {"id", IMAGE} <= {*columns} and domain.MEDIA_TYPES:
        kind = _plain_type(schema.field(columns[IMAGE]).type)
        if pa.types.is_large_binary(kind) or pa.types.is_large_string(kind):
            return {name: columns[name] for name in ("id", IMAGE)}
        raise ValueError(f"{EXPECTED}; got {columns[IMAGE]} as {schema.field(columns[IMAGE]).type}")
    names = ", ".join(schema.names) or "none"
    raise ValueError(f"{EXPECTED}; got {names}. If a column has another name, set COLUMN_ID, COLUMN_{_OTHER}")


def _find(names: list[str], name: str, given: Mapping[str, str]) -> str | None:
    """The name of a column in the file; None if it is missing."""
    setting = f"COLUMN_{name.upper()}"
    wanted = given.get(name, name)
    found = [other for other in names if other == wanted]
    if not found and name in given:
        raise ValueError(f"{setting}={wanted}: there is no such column, the file has {', '.join(names) or 'none'}")
    found = found or [other for other in names if other.lower() == wanted.lower()]
    if len({*found}) > 1:
        raise ValueError(f"got the columns {' and '.join(found)}: set {setting} to one of them")
    if len(found) > 1:
        raise ValueError(f"got {len(found)} columns with the name {found[0]}: rename one, or set {setting} to another")
    return found[0] if found else None


def id_type(schema: pa.Schema, columns: Mapping[str, str]) -> pa.DataType:
    """The type of the ids in the output."""
    return _plain_id_type(schema.field(columns["id"]).type)


def to_plain_id(values: Any) -> Any:
    """Ids as they are, except views, which pyarrow cannot filter."""
    plain = _plain_id_type(values.type)
    return values if plain == values.type else values.cast(plain)


def _plain_id_type(kind: pa.DataType) -> pa.DataType:
    return pa.string() if _is_text_view(kind) else pa.binary() if _is_binary_view(kind) else kind


def to_plain(values: Any) -> Any:
    """The same values as a type that is handled here: lists, large strings and binaries, numbers."""
    kind = values.type
    if isinstance(kind, pa.BaseExtensionType):
        return to_plain(values.storage)
    if pa.types.is_dictionary(kind):
        return to_plain(values.dictionary_decode())
    if _is_struct_of_bytes(kind):
        return to_plain(pc.struct_field(values, "bytes"))
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        return _to_lists(values)
    plain = _plain_type(kind)
    return values if plain == kind else values.cast(plain)


def _to_lists(views: Any) -> Any:
    """Lists of list views: pyarrow's own cast is wrong for those that come from a Parquet file."""
    lengths = np.asarray(pc.fill_null(pc.list_value_length(views), 0))
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    is_null = np.append(np.asarray(views.is_null()), False)
    return pa.LargeListArray.from_arrays(pa.array(offsets, mask=is_null), views.flatten())


def _plain_type(kind: Any) -> Any:
    if isinstance(kind, pa.BaseExtensionType):
        return _plain_type(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if _is_struct_of_bytes(kind):
        return _plain_type(kind.field("bytes").type)
    if pa.types.is_binary(kind) or _is_binary_view(kind):
        return pa.large_binary()
    if pa.types.is_string(kind) or _is_text_view(kind):
        return pa.large_string()
    is_view = pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind)
    return pa.large_list(kind.value_type) if is_view else kind


def _is_struct_of_bytes(kind: pa.DataType) -> bool:
    """An image as the library `datasets` of Hugging Face writes it: `struct<bytes, path>`."""
    return bool(pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0)


def _is_text_view(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string_view(kind))


def _is_binary_view(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary_view(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))
