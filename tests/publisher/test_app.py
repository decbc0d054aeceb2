"""The publisher around its sources: readiness and settings."""

from __future__ import annotations

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from clarion_contract.service.settings import ContractSettings
from clarion_publisher.settings import PublisherSettings
from tests.conftest import SECRET
from tests.e2e.ports import free_port
from tests.publisher.service import serving

EVENT = {"audience": "all", "type": "t", "data": 1}


def test_nothing_internal_on_the_public_port(client: httpx.Client) -> None:
    for path in ("/metrics", "/healthz", "/readyz"):
        assert client.get(path).status_code == 404


def test_not_ready_without_the_issuers_keys(redis_url: str) -> None:
    url = f"http://127.0.0.1:{free_port()}/jwks"
    with serving(redis_url, jwt_secret=None, jwt_jwks_url=url) as service:
        reasons = service.internal("/readyz").json()["reasons"]
        assert any(each.startswith("no keys from CLARION_JWT_JWKS_URL: ") for each in reasons)
        assert "clarion_publisher_ready 0.0" in service.internal("/metrics").text
        with service.client() as client:
            key = rsa.generate_private_key(65_537, 2_048)
            unknown = jwt.encode({"sub": "orders", "exp": 4e9}, key, "RS256")
            headers = {"authorization": f"Bearer {unknown}"}
            answer = client.post("/v1/events", json=EVENT, headers=headers)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            refused = client.post("/v1/events", json=EVENT)
            assert refused.status_code == 401, "with HS256, for which no key is fetched"


def test_shared_settings_come_from_the_contract() -> None:
    settings = PublisherSettings(jwt_secret=SECRET, namespace="ns")
    assert isinstance(settings, ContractSettings)
    assert settings.keyspace.clock("all") == "ns:clock"
