"""The meaning of any request: hypothesis compares it with the standard library."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_contract.events.event import InvalidPosition, parse_position
from clarion_contract.service.http_port import refusal_response
from clarion_gateway.transports.request import ConnectionRequest

# As a query comes in: the characters that mean something, and others.
QUERIES = st.text(st.sampled_from("&=+%;?#/ aA0Ff.") | st.characters(max_codepoint=0x10FFFF))
TOKENS = st.from_regex(
    r"[A-Za-z0-9_-]{1,9}\.[A-Za-z0-9_-]{1,9}\.[A-Za-z0-9_-]{1,9}", fullmatch=True
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["authorization", "sec-websocket-protocol", "last-event-id", "origin"]),
        st.text(st.characters(max_codepoint=0xFF)) | st.sampled_from(["Bearer ", "bearer x", ","]),
    )
)


def request(query: str = "", *headers: tuple[str, str]) -> ConnectionRequest:
    return ConnectionRequest("/ws", query, list(headers))


@given(QUERIES)
def test_a_query_means_what_the_standard_library_says(query: str) -> None:
    """The first value of each field counts. An empty field counts as absent, except a token."""
    expected = dict(reversed(parse_qsl(query)))
    opening = request(query).opening()
    whole = dict(reversed(parse_qsl(query, keep_blank_values=True)))
    assert opening.token == whole.get("token")
    assert opening.since == expected.get("since")
    assert opening.resumes == expected.get("connection")


@given(st.text(), st.text(), st.text())
def test_what_a_client_encodes_comes_out_as_it_was(token: str, since: str, resumes: str) -> None:
    fields = {"token": token, "since": since, "connection": resumes}
    opening = request(urlencode(fields)).opening()
    assert (opening.token or "", opening.since or "", opening.resumes or "") == tuple(
        fields.values()
    )


@given(TOKENS, TOKENS, TOKENS, st.sampled_from(["Bearer", "bearer", "BEARER"]))
def test_the_header_counts_before_the_subprotocol_before_the_query(
    first: str, second: str, third: str, scheme: str
) -> None:
    header = ("authorization", f"{scheme} {first}")
    offers = ("sec-websocket-protocol", f"clarion.v1, clarion.bearer.{second}")
    query = f"token={third}"
    assert request(query, offers, header).opening().token == first
    assert request(query, offers).opening().token == second
    assert request(query).opening().token == third


@given(QUERIES, HEADERS)
def test_no_request_makes_it_raise(query: str, headers: list[tuple[str, str]]) -> None:
    asked = request(query, *headers)
    opening = asked.opening()
    assert all(offer == offer.strip() != "" for offer in asked.offered_subprotocols)
    if opening.since:
        try:
            assert 0 <= parse_position(opening.since) < 10**16
        except InvalidPosition:
            pass


@pytest.mark.parametrize("status", [400, 401, 403, 404, 426, 431, 503])
@given(st.text())
def test_a_refusal_is_one_whole_response_whatever_it_tells(status: int, detail: str) -> None:
    head, separator, body = refusal_response(status, detail).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert separator
    assert f"content-length: {len(body)}".encode() in head.split(b"\r\n")
    assert json.loads(body)["detail"] == detail


@given(
    st.text(st.characters(max_codepoint=255, exclude_characters="\n")),
    st.lists(
        st.tuples(
            st.from_regex(r"[a-z-]+", fullmatch=True),
            st.text(st.characters(max_codepoint=255, exclude_characters="\r\n")),
        )
    ),
)
def test_a_request_is_unpacked_as_it_was_packed(query: str, headers: list[tuple[str, str]]) -> None:
    request = ConnectionRequest("/socket.io/", query, headers)
    assert ConnectionRequest.unpacked(request.packed()) == request
