"""What surrounds the routes: CORS, documents, readiness."""

from __future__ import annotations

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from clarion_contract.service.settings import ContractSettings
from clarion_publisher.settings import PublisherSettings
from clarion_publisher.sources.http.public import response_headers
from tests.conftest import SECRET
from tests.publisher.service import Service, serving
from tests.valkey import free_port

PAGE = "http://127.0.0.1:8001"
EVENT = {"audience": "all", "type": "t", "data": 1}


def test_no_page_may_publish_by_default(client: httpx.Client) -> None:
    preflight = client.options(
        "/v1/events", headers={"origin": PAGE, "access-control-request-method": "POST"}
    )
    assert preflight.status_code == 405
    answer = client.post("/v1/events", json=EVENT, headers={"origin": PAGE})
    assert not any(name.startswith("access-control") for name in answer.headers)


def test_pages_of_allowed_origins_may_publish(redis_url: str, namespace: str) -> None:
    settings = {"namespace": namespace, "allowed_origins": (PAGE,), "profile": "dev"}
    with serving(redis_url, **settings) as service, service.client() as client:
        asked = {
            "origin": PAGE,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type,idempotency-key",
        }
        preflight = client.options("/v1/events", headers=asked)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == PAGE
        answer = client.post("/v1/events", json=EVENT, headers={"origin": PAGE})
        assert answer.status_code == 201
        assert answer.headers["access-control-allow-origin"] == PAGE
        refused = client.post("/v1/events", json={}, headers={"origin": PAGE})
        assert refused.headers["access-control-allow-origin"] == PAGE
        other = client.options("/v1/events", headers={**asked, "origin": "http://evil"})
        assert other.status_code == 400
        assert "access-control-allow-origin" not in other.headers
        docs = client.get("/docs")
        assert docs.status_code == 200
        assert "//" not in docs.headers["content-security-policy"]


def test_docs_stay_inside(client: httpx.Client) -> None:
    assert client.get("/docs").status_code == 404
    assert client.get("/redoc").status_code == 404
    assert client.get("/openapi.json").status_code == 200


def test_nothing_internal_on_the_public_port(client: httpx.Client) -> None:
    for path in ("/metrics", "/healthz", "/readyz"):
        assert client.get(path).status_code == 404


def test_production_allows_no_content(service: Service) -> None:
    headers = dict(response_headers(service.settings))
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


def test_not_ready_without_the_issuers_keys(redis_url: str) -> None:
    url = f"http://127.0.0.1:{free_port()}/jwks"
    with serving(redis_url, jwt_secret=None, jwt_jwks_url=url) as service:
        response = service.internal("/readyz")
        assert response.json()["reasons"] == ["no keys from CLARION_JWT_JWKS_URL yet"]
        assert "clarion_publisher_ready 0.0" in service.internal("/metrics").text
        with service.client() as client:
            key = rsa.generate_private_key(65_537, 2_048)
            unknown = jwt.encode({"sub": "orders", "exp": 4e9}, key, "RS256")
            headers = {"authorization": f"Bearer {unknown}"}
            answer = client.post("/v1/events", json=EVENT, headers=headers)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            refused = client.post("/v1/events", json=EVENT)
            assert refused.status_code == 401, "with HS256, for which no key is fetched"


def test_a_bug_leaks_nothing(
    service: Service, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr("clarion_publisher.sources.http.routes.decode_event", fail)
    response = client.post("/v1/events", json=EVENT)
    assert response.status_code == 500
    assert response.json()["type"] == "urn:clarion:problem:internal"
    assert "secret" not in response.text
    monkeypatch.undo()
    assert client.post("/v1/events", json=EVENT).status_code == 201


def test_a_bug_elsewhere_leaks_nothing(
    service: Service, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr("fastapi.applications.JSONResponse", fail)
    response = client.get("/openapi.json")
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "secret" not in response.text


def test_shared_settings_come_from_the_contract() -> None:
    settings = PublisherSettings(jwt_secret=SECRET, namespace="ns")
    assert isinstance(settings, ContractSettings)
    assert settings.keyspace.clock("all") == "ns:clock"
