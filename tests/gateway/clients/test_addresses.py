"""`clarion_gateway.clients.addresses`: where a client is, and who may say so."""

from __future__ import annotations

import pytest

from clarion_gateway.clients.addresses import Addresses
from clarion_gateway.settings import PRIVATE_NETWORKS

CLIENT = "192.0.2.7"
ADDRESSES = Addresses(PRIVATE_NETWORKS)


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        (CLIENT, [], CLIENT),
        (CLIENT, ["6.6.6.6"], CLIENT),  # nobody trusts it
        ("10.0.0.1", [CLIENT], CLIENT),
        ("10.0.0.1", [f"{CLIENT}, 10.0.0.2"], CLIENT),
        ("10.0.0.1", [f"6.6.6.6, 10.9.9.9, {CLIENT}", "172.16.1.1"], CLIENT),
        ("::ffff:10.0.0.1", [f"::ffff:{CLIENT}"], CLIENT),
        ("fd00::1", ["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::/64"),
        ("2001:db8::1", [], "2001:db8::/64"),
        ("fe80::1%eth0", ["2001:db8:1:2:3:4:5:6%eth0"], "2001:db8:1:2::/64"),
        ("10.0.0.1", [f"{CLIENT}:50123"], CLIENT),
        ("10.0.0.1", [f"6.6.6.6, {CLIENT}:50123, 10.0.0.2:80"], CLIENT),
        ("10.0.0.1", ["[2001:db8:1:2::3]:50123"], "2001:db8:1:2::/64"),
        ("10.0.0.1", ["[2001:db8:1:2::3]"], "2001:db8:1:2::/64"),
        ("127.0.0.1", [], None),
        ("10.0.0.1", ["10.0.0.2"], None),
        ("10.0.0.1", ["unknown"], None),
        ("10.0.0.1", ["6.6.6.6, "], None),
        ("", [CLIENT], None),
    ],
)
def test_the_last_that_is_no_proxy_is_the_client(
    peer: str, forwarded_for: list[str], client: str | None
) -> None:
    assert ADDRESSES.client(peer, forwarded_for) == client
