"""One publisher for all tests that need no special settings."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import httpx
import pytest

from tests.publisher.service import Service, serving
from tests.valkey import Valkey


@pytest.fixture(scope="session")
def service(shared_valkey: Valkey) -> Iterator[Service]:
    with serving(shared_valkey.url, namespace=f"publisher-{uuid.uuid4().hex[:8]}") as service:
        yield service


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client


@pytest.fixture
def user() -> str:
    """A user of this test's own."""
    return f"user-{uuid.uuid4().hex[:12]}"
