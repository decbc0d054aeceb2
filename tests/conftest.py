"""Fixtures for all tests: a real Valkey, and a namespace in it for each test."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.valkey import Valkey

SECRET = "a secret for tests, 32 bytes or more"

# A test fails for what the code does, never for how busy the machine is.
settings.register_profile("clarion", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("clarion")


@pytest.fixture(scope="session")
def shared_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """One server per test process. Tests that stop or pause a server start one of their own."""
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A server for one test, to stop, pause and count on."""
    server = Valkey(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def lasting_valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A server that writes every answer to disk, so that its data survive a restart."""
    server = Valkey(tmp_path, persist=True)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def redis_url(shared_valkey: Valkey) -> str:
    return shared_valkey.url


@pytest.fixture
def namespace() -> str:
    """Keeps each test's keys and channels apart on the shared server."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def logging_restored() -> Iterator[None]:
    """Allows a test to configure logging as a service does."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
