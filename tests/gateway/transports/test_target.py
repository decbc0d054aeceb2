"""`clarion_gateway.transports.target`: targets are split as `httptools` does it."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clarion_gateway.transports.target import split

TARGETS = st.one_of(
    st.binary(min_size=1, max_size=60),
    st.binary(max_size=60).map(lambda rest: b"/" + rest),
    st.text("/?#&=:@[]%+ab", max_size=30).map(lambda rest: f"/{rest}".encode()),
    st.text("/?#&=:@[]%+ab", max_size=30).map(lambda rest: f"http://a{rest}".encode()),
)


@given(TARGETS)
@example(b"/socket.io/?EIO=4&transport=polling&t=Pabc&sid=abc")
@example(b"/a?")
@example(b"/a?b?c")
@example(b"/a?b#c")
@example(b"//host/a")
@example(b"/a\x7f")
@example(b"/a\xc3\xa4?b")
@example(b"/" + b"a" * 9_000 + b"?b")
@example(b"*")
def test_a_target_is_split_as_the_library_does_it(target: bytes) -> None:
    try:
        url = httptools.parse_url(target)
    except httptools.HttpParserInvalidURLError:
        with pytest.raises(httptools.HttpParserInvalidURLError):
            split(target)
    else:
        assert split(target) == (url.path or b"", url.query or b"")
