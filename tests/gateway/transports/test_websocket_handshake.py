"""`clarion_gateway.transports.websocket_handshake`: the short answer is the library's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_gateway.transports import websocket_handshake as module
from clarion_gateway.transports.request import ConnectionRequest
from clarion_gateway.transports.websocket_core import Core
from clarion_gateway.transports.websocket_handshake import Agreed, agree
from clarion_gateway.wire.format import Formats
from clarion_gateway.wire.native import NATIVE, SUBPROTOCOL

FORMATS: Formats = {None: NATIVE, SUBPROTOCOL: NATIVE}
UNNAMED: Formats = {None: NATIVE}
NAMED: Formats = {SUBPROTOCOL: NATIVE}
MAX_BYTES = 1_000

KEY = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
VERSION = ("sec-websocket-version", "13")
LINES = st.sampled_from(
    [
        KEY,
        ("sec-websocket-key", "c2hvcnQ="),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZ\u0661=="),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==\n"),
        VERSION,
        ("sec-websocket-version", "8"),
        ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits"),
        ("sec-websocket-extensions", "permessage-deflate; ;"),
        ("sec-websocket-extensions", ""),
        ("host", "test"),
    ]
) | st.tuples(
    st.just("sec-websocket-protocol"),
    st.lists(
        st.sampled_from(["clarion.v1", "clarion.bearer.a.b-c_d", "mqtt", "a b", "\u00e9", ""]),
        max_size=3,
    ).map(" ,\t".join),
)


def request(*lines: tuple[str, str]) -> ConnectionRequest:
    return ConnectionRequest("/ws", "", list(lines))


@given(
    lines=st.permutations([KEY, VERSION]).flatmap(
        lambda good: st.lists(LINES, max_size=3).map(lambda more: [*good, *more])
    )
    | st.lists(LINES, max_size=5),
    formats=st.sampled_from([FORMATS, UNNAMED, NAMED]),
)
def test_the_short_answer_is_the_librarys_own(
    lines: list[tuple[str, str]], formats: Formats
) -> None:
    short = module._usual(request(*lines), formats)
    if short is not None:
        assert short == module._agree_at_length(request(*lines), formats, Core(MAX_BYTES))


@pytest.mark.parametrize(
    "more",
    [
        (),
        (("sec-websocket-protocol", "clarion.v1"),),
        (("sec-websocket-protocol", "clarion.bearer.a.b.c, clarion.v1"),),
        (("sec-websocket-extensions", "permessage-deflate; client_max_window_bits"),),
    ],
)
def test_the_requests_of_browsers_get_the_short_answer(
    more: tuple[tuple[str, str], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(module, "_agree_at_length")
    agreed = agree(request(KEY, VERSION, *more), FORMATS, MAX_BYTES, compression=False)
    assert isinstance(agreed, Agreed)
    # The example of RFC 6455, section 1.3.
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in agreed.head
    assert agreed.core is None


def test_a_client_that_compresses_has_a_core_of_its_own() -> None:
    offer = ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits")
    agreed = agree(request(KEY, VERSION, offer), FORMATS, MAX_BYTES, compression=True)
    assert isinstance(agreed, Agreed)
    assert agreed.core is not None
    assert agreed.format is NATIVE.deflated
