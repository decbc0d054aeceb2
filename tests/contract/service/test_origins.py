"""Allow-lists of origins: which entries they take, and which origins they allow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_contract.service.origins import AllowedOrigins, check_entries, normal

SHELLS = (
    "capacitor://localhost", "ionic://localhost", "tauri://localhost", "file://", "app://obsidian.md",
    "chrome-extension://abcdefghijklmnop", "moz-extension://0b2ff7a1-3f6c", "null",
)  # fmt: skip


@pytest.mark.parametrize("entry", [
    "*", "https://app.example.com", "https://app.example.com/", "HTTPS://App.Example.com:8443",
    "http://localhost:3000", "http://[::1]:3000", "https://*.example.com", "http://*.localhost:8080",
    *SHELLS,
])  # fmt: skip
def test_entries(entry: str) -> None:
    check_entries([entry])


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("app.example.com", "expected a scheme, as in https://app.example.com"),
        ("localhost:3000", "expected a scheme"),
        ("//app.example.com", "expected a scheme"),
        ("https://app.example.com/page", "expected an origin without a path"),
        ("https://app.example.com?x", "expected an origin such as"),
        ("https://user@app.example.com", "expected an origin such as"),
        ("https://", "expected an origin such as"),
        ("https://app.example.com:port", "expected an origin such as"),
        ("wss://app.example.com", "expected the scheme of the page"),
        ("https://app.*.com", "expected * for the first part"),
        ("https://*app.example.com", "expected * for the first part"),
        ("https://*", "expected * for the first part"),
        ("*.example.com", "expected a scheme"),
        ("Null", "expected a scheme"),
    ],
)
def test_what_is_no_entry_is_told_why(entry: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"expected") as caught:
        check_entries(["https://good.example.com", entry])
    assert words in str(caught.value)
    assert repr(entry) in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "origin", "may"),
    [
        ("https://app.example.com", "https://app.example.com:443", True),
        ("https://app.example.com:443", "https://app.example.com", True),
        ("http://app.example.com:80", "http://app.example.com", True),
        ("https://app.example.com:80", "https://app.example.com", False),
        ("https://*.example.com", "https://a.example.com", True),
        ("https://*.example.com", "https://a.b.example.com", True),
        ("https://*.example.com", "https://A.Example.Com:443", True),
        ("https://*.example.com:8443", "https://a.example.com:8443", True),
        ("https://*.example.com", "https://example.com", False),
        ("https://*.example.com", "http://a.example.com", False),
        ("https://*.example.com", "https://a.example.com:8443", False),
        ("https://*.example.com", "https://aexample.com", False),
        ("https://*.example.com", "https://a.example.com.evil.com", False),
        ("https://*.example.com", "https://evil.com/.example.com", False),
        ("https://*.example.com", "https://evil.com#.example.com", False),
        ("https://*.example.com", "https://evil.com@a.example.com", False),
        ("https://*.example.com", "https://*.example.com", False),
        ("*", "https://anybody.example", True),
        ("https://app.example.com", "null", False),
        *((shell, shell, True) for shell in SHELLS),
        *((shell, "https://app.example.com", False) for shell in SHELLS),
    ],
)
def test_which_origins_an_entry_allows(entry: str, origin: str, *, may: bool) -> None:
    check_entries([entry])
    assert (origin in AllowedOrigins([entry])) is may


@pytest.mark.parametrize(
    "origin",
    ["http://localhost:3000", "https://localhost", "http://127.0.0.1:5173", "http://[::1]:8080",
     "http://app.localhost", "http://127.1.2.3"],
)  # fmt: skip
def test_pages_of_this_machine(origin: str) -> None:
    assert origin in AllowedOrigins([], loopback=True)
    assert origin not in AllowedOrigins([])


@pytest.mark.parametrize(
    "origin",
    ["http://localhost.evil.com", "http://evillocalhost", "http://127.0.0.1.evil.com",
     "http://1270.0.0.1", "null", "http://localhost/page", "ftp://localhost", "http://10.0.0.1"],
)  # fmt: skip
def test_what_only_looks_like_this_machine(origin: str) -> None:
    assert origin not in AllowedOrigins([], loopback=True)


@given(st.text())
def test_no_text_makes_it_raise(text: str) -> None:
    assert (
        text in AllowedOrigins(["https://*.example.com"], loopback=True) or normal(text)[:0] == ""
    )
