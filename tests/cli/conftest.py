"""The command in a folder of its own, and a stand-in for the publisher that it calls."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.clarion import Clarion
from tests.cli.publisher import Publisher
from tests.valkey import Valkey


@pytest.fixture
def clarion(tmp_path: Path) -> Clarion:
    return Clarion(tmp_path)


@pytest.fixture
def valkey(lasting_valkey: Valkey) -> Valkey:
    """`clarion check` warns of a server that keeps nothing."""
    return lasting_valkey


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
