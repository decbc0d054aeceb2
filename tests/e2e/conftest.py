"""A whole stack, started once for all tests of a process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.stack import Stack, make_stack
from tests.valkey import Valkey


@pytest.fixture(scope="session")
def stack(shared_valkey: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = make_stack(tmp_path_factory.mktemp("stack"), shared_valkey.url, "e2e")
    with made.running():
        yield made
        for service in made.services:
            service.terminate()
        assert [service.wait() for service in made.services] == [0, 0, 0]


@pytest.fixture
def own_stack(shared_valkey: Valkey, tmp_path: Path, namespace: str) -> Iterator[Stack]:
    """A stack that a test may take apart."""
    made = make_stack(tmp_path, shared_valkey.url, namespace, GATEWAY_DRAIN_SPREAD_SECONDS="0.2")
    with made.running():
        yield made
