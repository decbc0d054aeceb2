"""Signatures as Standard Webhooks describes them."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from clarion_contract.service.webhooks import Signer

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_example_of_the_specification() -> None:
    """The vector of the conventions' own libraries."""
    headers = Signer([SECRET]).headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}'
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_one_signature_for_each_secret() -> None:
    other = "another secret of 24 bytes or more"
    both = Signer([other, SECRET]).headers("id", 1, b"x")["webhook-signature"].split()
    assert both[1:] == Signer([SECRET]).headers("id", 1, b"x")["webhook-signature"].split()
    digest = hmac.digest(other.encode(), b"id.1.x", hashlib.sha256)
    assert both[0] == "v1," + base64.b64encode(digest).decode()


@pytest.mark.parametrize("secrets", [[], [""], ["short"], ["whsec_???"], ["whsec_c2hvcnQ="]])
def test_bad_secrets_are_not_told(secrets: list[str]) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        Signer(secrets)
    assert not any(secret and secret in str(caught.value) for secret in secrets)
