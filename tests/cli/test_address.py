"""Addresses of publishers."""

from __future__ import annotations

import pytest

from clarion_cli.address import publisher_url
from clarion_cli.failure import ExitCode, Failure
from tests.clients.python.client.test_address import NO_URLS


@pytest.mark.parametrize("url", [*NO_URLS, "ws://127.0.0.1:8080"])
def test_a_publisher_speaks_http(url: str) -> None:
    with pytest.raises(Failure, match="expected a publisher's URL like") as failure:
        publisher_url(url)
    assert failure.value.code is ExitCode.USAGE


def test_a_publishers_url_may_have_a_path() -> None:
    assert publisher_url("https://example.com/clarion/") == "https://example.com/clarion"
