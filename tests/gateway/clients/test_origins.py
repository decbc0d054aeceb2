"""`clarion_gateway.clients.origins.Origins`: which pages may connect."""

from __future__ import annotations

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from clarion_gateway.clients.origins import Origins, RefusedOrigins, forwarded_hosts

HOST = "rt.example.com"


@pytest.mark.parametrize(
    ("allowed", "origin", "may"),
    [
        ((), None, True),  # no browser
        ((), "https://rt.example.com", True),
        ((), "HTTPS://RT.EXAMPLE.COM", True),
        ((), "https://rt.example.com:8443", False),
        ((), "https://example.com", False),
        ((), "https://rt.example.com.evil.com", False),
        ((), "https://evil.com/rt.example.com", False),
        ((), "https://rt.example.com:443", True),
        ((), "http://rt.example.com:80", True),
        ((), "https://rt.example.com:80", False),
        ((), "ftp://rt.example.com", False),
        ((), "file://rt.example.com", False),
        ((), "chrome-extension://rt.example.com", False),
        ((), "rt.example.com", False),
        ((), "//rt.example.com", False),
        ((), "https://rt.example.com/", False),
        ((), "https://rt.example.com/page", False),
        ((), "https://user@rt.example.com", False),
        ((), "null", False),  # a sandboxed frame, a file
        ((), "", False),
        (("https://app.example.com",), "https://app.example.com", True),
        (("https://app.example.com/",), "https://app.example.com", True),
        (("https://APP.example.com",), "https://app.EXAMPLE.com", True),
        (("https://app.example.com",), "http://app.example.com", False),
        (("https://app.example.com",), "https://app.example.com:444", False),
        (("https://app.example.com",), "https://rt.example.com", False),
        (("https://app.example.com",), "https://app.example.com.evil.com", False),
        (("https://app.example.com",), "null", False),
        (("https://app.example.com",), None, True),
        (("https://a.example.com", "https://b.example.com"), "https://b.example.com", True),
        (("*",), "https://evil.com", True),
        (("*",), "null", True),
        (("https://app.example.com", "*"), "https://evil.com", True),
    ],
)
def test_which_origins_may_connect(allowed: tuple[str, ...], origin: str | None, may: bool) -> None:
    assert Origins(allowed).allows(origin, HOST) is may


def test_without_a_host_no_page_is_the_gateways_own() -> None:
    assert not Origins(()).allows("https://rt.example.com", None)


def test_a_trusted_proxys_host_is_the_gateways_own() -> None:
    own = Origins(())
    assert own.allows("https://rt.example.com", "gateway:8000", forwarded_hosts=[HOST])
    assert own.allows("https://gateway:8000", "gateway:8000", forwarded_hosts=[HOST])
    assert not own.allows("https://evil.com", "gateway:8000", forwarded_hosts=[HOST])
    listed = Origins(["https://app.example.com"])
    assert not listed.allows("https://rt.example.com", HOST, forwarded_hosts=[HOST])


@pytest.mark.parametrize(
    ("host", "port", "hosts"),
    [
        (None, None, []),
        (None, "8443", []),
        ("a.example", None, ["a.example"]),
        ("a.example, inner", "8443, 80", ["a.example", "a.example:8443"]),
        ("a.example", "x", ["a.example"]),
    ],
)
def test_the_first_forwarded_host_is_the_clients(
    host: str | None, port: str | None, hosts: list[str]
) -> None:
    assert forwarded_hosts(host, port) == hosts


def test_refusals_are_logged_once_a_minute_and_bounded() -> None:
    now = 0.0
    refused = RefusedOrigins(lambda: now)
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as logs:
        for number in range(100):
            words = refused.refuse(f"https://{number}.example", HOST)
            refused.refuse(f"https://{number}.example", HOST)
        assert len(logs) == 20
        now = 60.0
        refused.refuse("https://0.example", HOST)
        assert len(logs) == 21
    assert "'https://99.example'" in words
    assert "GATEWAY_ALLOWED_ORIGINS" in words
    assert len(refused.refuse("x" * 10_000, "y" * 10_000)) < 400


@given(st.text())
def test_no_origin_makes_it_raise(origin: str) -> None:
    """It is the first check on any request."""
    assert Origins(()).allows(origin, HOST) in {True, False}


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "https://]", "http://[x]:y"])
def test_a_malformed_origin_may_not_connect(origin: str) -> None:
    assert not Origins(()).allows(origin, HOST)


@pytest.mark.parametrize("scheme", ["https", "wss", "HTTPS", "https, http", " https"])
def test_where_clients_come_by_tls_a_page_without_it_is_another_origin(scheme: str) -> None:
    assert not Origins(()).allows("http://rt.example.com", HOST, scheme=scheme)
    assert Origins(()).allows("https://rt.example.com", HOST, scheme=scheme)
    assert Origins(["http://rt.example.com"]).allows("http://rt.example.com", HOST, scheme=scheme)


@pytest.mark.parametrize("scheme", [None, "http", "ws", "http, https"])
def test_where_nobody_says_that_clients_come_by_tls_both_schemes_may_connect(
    scheme: str | None,
) -> None:
    """A TCP proxy reports no scheme, and an inner proxy may report that of its own side."""
    for origin in ("http://rt.example.com", "https://rt.example.com"):
        assert Origins(()).allows(origin, HOST, scheme=scheme)


@pytest.mark.parametrize("origin", ["null", "", "https://", "//", "https:"])
def test_an_empty_host_is_nobodys(origin: str) -> None:
    assert not Origins(()).allows(origin, "")
