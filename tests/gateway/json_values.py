"""Hypothesis strategies: any JSON value, and any way in which a producer may write it."""

from __future__ import annotations

import json

from hypothesis import strategies as st

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def written(draw: st.DrawFn) -> tuple[object, bytes]:
    """A value and JSON text of it: compact or over several lines, with any line ends and escapes."""
    value = draw(VALUES)
    indent = draw(st.sampled_from([None, 0, 2]))
    text = json.dumps(value, indent=indent, ensure_ascii=draw(st.booleans()))
    if indent is not None:
        # Line ends stand between tokens only: inside strings JSON has them escaped.
        text = text.replace("\n", draw(st.sampled_from(["\n", "\r\n", "\r"])))
    padding = draw(st.sampled_from(["", " ", "\n", "\r\n"]))
    return value, (padding + text + padding).encode("utf-8", "surrogatepass")
