"""The public port as a whole: CORS, which path gets which answer, bugs."""

from __future__ import annotations

import httpx
import pytest

from clarion_publisher.sources.http.public import response_headers
from tests.publisher.service import Service, serving

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


def test_production_allows_no_content(service: Service) -> None:
    headers = dict(response_headers(service.settings))
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


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


def test_a_bug_of_an_operation_leaks_nothing_and_is_counted(
    redis_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr("clarion_publisher.sources.http.users.Users.read", fail)
    with serving(redis_url, namespace=namespace) as service, service.client() as client:
        response = client.get("/v1/users/alice")
        assert response.status_code == 500
        assert response.json()["type"] == "urn:clarion:problem:internal"
        assert "secret" not in response.text
        labels = 'operation="read_user",outcome="internal"'
        assert service.metric(f"clarion_publisher_operations_total{{{labels}}}") == 1
