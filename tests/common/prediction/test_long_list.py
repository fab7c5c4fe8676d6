"""A long JSON list is split where its items end, whatever they hold."""

import json

from hypothesis import given, strategies as st

from common.prediction.long_list import split_list

TEXT = st.text(max_size=3) | st.sampled_from(["{", "}", '"', "\\", '\\"}', "]", ",", "é"])
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
)


@given(st.lists(ANY_JSON, max_size=4), st.booleans(), st.none() | st.just(1))
def test_a_list_is_split_into_its_items(items: list[object], escaped: bool, indent: int | None) -> None:
    text = json.dumps(items, ensure_ascii=escaped, indent=indent)
    body = f" \n{text}\r\n".encode("utf-8", "replace")  # half of a surrogate pair is no UTF-8
    expected = json.loads(body)
    assert [json.loads(item) for item in split_list(body, 10_000)] == expected
