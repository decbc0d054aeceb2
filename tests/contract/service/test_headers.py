"""Values of headers as RFC 9110 allows them."""

from __future__ import annotations

import pytest

from clarion_contract.service.headers import bare, members


def test_white_space_around_a_value_is_no_part_of_it() -> None:
    assert bare(b" \t a b\t ") == b"a b"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([b"Upgrade"], [b"upgrade"]),
        ([b"keep-alive, Upgrade"], [b"keep-alive", b"upgrade"]),
        ([b"keep-alive", b"UPGRADE"], [b"keep-alive", b"upgrade"]),
        ([b" ,\tUpgrade \t,, close"], [b"upgrade", b"close"]),
        ([b""], []),
        ([], []),
    ],
)
def test_lists_may_be_spread_and_have_empty_members(
    values: list[bytes], expected: list[bytes]
) -> None:
    headers = [(b"host", b"a"), *((b"connection", value) for value in values)]
    assert members(headers, b"connection") == expected
