"""Splits URLs that name several hosts: a cluster's nodes, Sentinels, or servers of PostgreSQL."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

_BEFORE_PATH: Final = re.compile(r"([^:/?#]+://)([^/?#]*)")


def split_url(url: str) -> SplitResult:
    """Split a URL as `urllib.parse.urlsplit` does, whatever hosts stand in it.

    Newer Pythons, such as 3.13.5, let `urlsplit` refuse an IPv6 address beside other hosts.

    Raises:
        ValueError: the text is not a URL.

    >>> split_url("redis+sentinel://one:26380,[::1]:1/main").netloc
    'one:26380,[::1]:1'
    """
    url = url.strip().translate({ord(each): None for each in "\t\r\n"})  # as `urlsplit` does
    found = _BEFORE_PATH.match(url)
    if found is None:
        return urlsplit(url)
    return urlsplit(f"{found[1]}host{url[found.end() :]}")._replace(netloc=found[2])
