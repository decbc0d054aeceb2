"""`clarion_contract.redis.url_parts`: the hosts of a URL are one part, whatever they are."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

import pytest

from clarion_contract.redis.url_parts import split_url


@pytest.mark.parametrize("hosts", ["one:1,[::1]:2", "[::1],[::2]", "user:p%40ss@one,[::1]", "["])
def test_hosts_are_not_judged(hosts: str) -> None:
    """Some Pythons refuse an IPv6 address beside other hosts, others do not."""
    url = f"redis+sentinel://{hosts}/main/2?a=[b]"
    parts = split_url(url)
    assert (parts.scheme, parts.netloc, parts.path) == ("redis+sentinel", hosts, "/main/2")
    assert urlunsplit(parts) == url


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://a/shop?x=y#z", "redis://a?db=1", "redis://a#b", "unix:///run/redis.sock",
        "redis:a", "//a/b", "a/b", "", "redis://", " redis://a\n", "redis://a\t/0\r\n",
    ],
)  # fmt: skip
def test_all_else_is_split_as_python_does(url: str) -> None:
    assert split_url(url) == urlsplit(url)
