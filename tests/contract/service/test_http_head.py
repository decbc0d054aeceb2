"""`clarion_contract.service.http_head`: which heads are in order. The protocol's tests show the answers."""

from __future__ import annotations

import pytest

from clarion_contract.service.http_head import Headers, fault, without_upgrade

HOST = (b"host", b"a")


@pytest.mark.parametrize(
    ("target", "version", "headers", "wrong"),
    [
        (b"/", "1.1", [HOST], None),
        (b"/", "1.0", [], None),
        (b"http://a/x", "1.1", [HOST], None),
        (b"/", "1.1", [(b"host", b"[::1]:80"), (b"a", b""), (b"a", b"")], None),
        (b"/", "1.1", [], "expected one Host header, got none"),
        (b"/", "1.0", [HOST, HOST], "expected one Host header, got 2"),
        (
            b"/",
            "1.1",
            [(b"host", b"a b")],
            "expected a host and an optional port in the Host header",
        ),
        (b"/", "2.0", [HOST], "expected HTTP/1.1, got HTTP/2.0"),
        (
            b"/",
            "1.0",
            [(b"transfer-encoding", b"chunked")],
            "expected no Transfer-Encoding in HTTP/1.0",
        ),
        (b"http://a", "1.1", [HOST], "expected a path as the target"),
        (b"*", "1.1", [HOST], "expected a path as the target"),
    ],
)
def test_heads(target: bytes, version: str, headers: Headers, wrong: str | None) -> None:
    assert fault(target, version, headers, dict(headers)) == wrong


def test_a_head_without_its_upgrade_keeps_everything_else() -> None:
    headers = [HOST, (b"connection", b"Upgrade"), (b"upgrade", b"h2c"), (b"x", b"1"), (b"x", b"2")]
    assert (
        without_upgrade(b"GET", b"/a?b", "1.1", headers)
        == b"GET /a?b HTTP/1.1\r\nhost: a\r\nx: 1\r\nx: 2\r\n\r\n"
    )
