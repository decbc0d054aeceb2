"""Which servers are on this machine."""

from __future__ import annotations

from clarion.local import is_local


def test_no_proxy_stands_before_this_machine() -> None:
    assert is_local("http://127.0.0.1:8001")
    assert is_local("ws://localhost:8001/ws")
    assert is_local("http://[::1]:8001")
    assert not is_local("https://events.example.com")
    assert not is_local("http://10.0.0.7")
