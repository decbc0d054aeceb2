"""The gateway's process, as far as no client sees it: its ports on a failed start."""

from __future__ import annotations

import errno
import socket

import pytest

from clarion_contract.service.serving import PortInUse, bind
from clarion_contract.service.settings import InvalidSettings
from clarion_gateway import server
from tests.integration.pod import settings_of

REDIS = "redis://127.0.0.1:1"


def is_free(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


def free_port() -> int:
    with bind("127.0.0.1", 0) as taken:
        port: int = taken.getsockname()[1]
        return port


async def test_a_start_that_fails_leaves_no_port_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong, and although somebody keeps the error with its frames."""
    monkeypatch.setattr(server, "stop_signal", lambda: None)
    port = free_port()
    local = {"host": "127.0.0.1", "port": port, "internal_host": "127.0.0.1"}
    with pytest.raises(InvalidSettings) as kept:
        await server.serve(
            settings_of(REDIS, "t", **local, internal_port=0, handlers="no_such_module:handlers")
        )
    assert "no_such_module" in str(kept.value.problems)
    assert is_free(port)
    with bind("127.0.0.1", 0) as taken:
        with pytest.raises(PortInUse) as kept_too:
            await server.serve(
                settings_of(REDIS, "t", **local, internal_port=taken.getsockname()[1])
            )
        assert "already in use" in str(kept_too.value)
        assert is_free(port)
