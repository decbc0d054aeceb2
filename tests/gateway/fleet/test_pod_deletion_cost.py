"""`clarion_gateway.fleet.pod_deletion_cost`: the writes to the Kubernetes API. A real HTTPS server
stands in for it.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs
from structlog.typing import EventDict

from clarion_gateway import jobs
from clarion_gateway.fleet.pod_deletion_cost import ANNOTATION, PodDeletionCost
from tests.gateway.recorder import metrics, sample
from tests.integration.pod import eventually, started
from tests.integration.sockets import opened

POD = "clarion-gateway-5d8f-x7k2p"
AUTHORITY = "kubernetes"


def certificate(folder: Path) -> Path:
    """A key and a certificate for 127.0.0.1 in one file; their authority is in ``ca.crt``. Neither has
    the extensions for key usage and key identifiers, as in older clusters.
    """
    root, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = signed(root, root, x509.BasicConstraints(ca=True, path_length=None))
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    server = signed(key, root, x509.SubjectAlternativeName([address]), name="kube-apiserver")
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = folder / "server.pem"
    path.write_bytes(private + server)
    (folder / "ca.crt").write_bytes(authority)
    return path


def signed(
    key: ec.EllipticCurvePrivateKey,
    by: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
    *,
    name: str = AUTHORITY,
) -> bytes:
    """A certificate of this key, in PEM."""
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(_named(AUTHORITY))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(extension, critical=True)
        .sign(by, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Api:
    """The part of the Kubernetes API that is used: it checks the token and records requests."""

    server: ThreadingHTTPServer
    service_account: Path
    token: str = "first"
    requests: list[Request] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT_HTTPS": str(self.server.server_port),
        }

    @property
    def costs(self) -> list[str]:
        return [one.body["metadata"]["annotations"][ANNOTATION] for one in self.requests]

    def rotate(self, token: str) -> None:
        """Put another token into the file, as the kubelet does every hour; the old one expires."""
        (self.service_account / "token").write_text(token + "\n")
        self.token = token


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    class Handler(BaseHTTPRequestHandler):
        def do_PATCH(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            api.requests.append(Request(self.command, self.path, headers, body))
            allowed = headers["authorization"] == f"Bearer {api.token}"
            self.send_response(200 if allowed else 401)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    account = tmp_path / "serviceaccount"
    account.mkdir()
    (account / "namespace").write_text("events")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate(account))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    api = Api(server, account)
    api.rotate("first")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield api
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def logs(_quiet: None) -> Iterator[list[EventDict]]:
    structlog.reset_defaults()
    with capture_logs() as logs:
        yield logs


class Subject:
    """A pod whose number of connections the test sets."""

    def __init__(self, api: Api, **environment: str) -> None:
        self.connections = 0
        self.metrics = metrics()
        self.cost = PodDeletionCost(
            POD,
            lambda: self.connections,
            self.metrics,
            interval_seconds=0.01,
            service_account=api.service_account,
            environment=api.environment | environment,
        )

    async def at(self, connections: int) -> None:
        """A write with this number of connections."""
        self.connections = connections
        await self.cost.write()

    def counted(self, outcome: str) -> float:
        return sample(self.metrics, "clarion_pod_deletion_cost_patches_total", outcome=outcome)


async def test_the_pod_patches_its_own_annotation_and_nothing_else(api: Api) -> None:
    subject = Subject(api)
    await subject.at(1_234)
    (request,) = api.requests
    assert request.method == "PATCH"
    assert request.path == f"/api/v1/namespaces/events/pods/{POD}/status"
    assert request.headers["content-type"] == "application/merge-patch+json"
    assert request.headers["authorization"] == "Bearer first"
    assert request.body == {"metadata": {"annotations": {ANNOTATION: "1234"}}}
    assert subject.counted("written") == 1


async def test_only_what_changed_by_much_is_written(api: Api) -> None:
    """A new and empty pod writes nothing: without the annotation, it counts as 0."""
    subject = Subject(api)
    for connections in (0, 1_000, 1_000, 1_050, 950, 1_200, 0):
        await subject.at(connections)
    assert api.costs == ["1000", "1200", "0"]


async def test_the_token_is_read_anew_each_time(api: Api) -> None:
    subject = Subject(api)
    await subject.at(100)
    api.rotate("second")
    await subject.at(200)
    assert [one.headers["authorization"] for one in api.requests] == [
        "Bearer first",
        "Bearer second",
    ]
    assert subject.counted("written") == 2


async def test_a_refusal_is_counted_logged_once_and_tried_again(
    api: Api, logs: list[EventDict]
) -> None:
    """It is logged once more if a write succeeded in between."""
    subject = Subject(api)
    api.token = "another"
    await subject.at(100)
    await subject.at(100)
    api.token = "first"
    await subject.at(100)
    api.token = "another"
    await subject.at(200)
    assert (subject.counted("failed"), subject.counted("written")) == (3, 1)
    assert [log["event"] for log in logs] == ["pod deletion cost not written"] * 2
    assert all("401" in log["error"] for log in logs)
    assert "first" not in str(logs)


async def test_an_api_that_another_authority_vouches_for_gets_no_token(
    api: Api, tmp_path: Path
) -> None:
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    certificate(stranger)
    (api.service_account / "ca.crt").write_bytes((stranger / "ca.crt").read_bytes())
    subject = Subject(api)
    await subject.at(100)
    assert api.requests == []
    assert subject.counted("failed") == 1


async def test_the_authority_of_an_older_cluster_is_trusted(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every Python checks as strictly here as Python 3.13 does by itself."""
    lenient = ssl.create_default_context

    def strict(**options: Any) -> ssl.SSLContext:
        context = lenient(**options)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)
    subject = Subject(api)
    await subject.at(100)
    assert subject.counted("written") == 1


@pytest.mark.parametrize("missing", ["token", "ca.crt", "namespace"])
async def test_without_a_service_account_it_is_harmless(api: Api, missing: str) -> None:
    (api.service_account / missing).unlink()
    subject = Subject(api)
    await subject.at(100)
    assert subject.counted("failed") == 1


async def test_a_token_that_no_header_can_hold_stays_out_of_the_log(
    api: Api, logs: list[EventDict]
) -> None:
    api.rotate("se\x00cret")
    subject = Subject(api)
    await subject.at(100)
    assert subject.counted("failed") == 1
    assert len(logs) == 1
    assert "se" not in logs[0]["error"].replace("LocalProtocolError", "")


async def test_an_address_of_ipv6_is_put_into_brackets(api: Api, logs: list[EventDict]) -> None:
    """Nothing listens there; the test checks that the address is understood."""
    subject = Subject(api, KUBERNETES_SERVICE_HOST="::1")
    await subject.at(100)
    assert [log["error"].partition(":")[0] for log in logs] == ["ConnectError"]


async def test_it_goes_on_for_ever(api: Api) -> None:
    subject = Subject(api)
    subject.connections = 10
    running = asyncio.create_task(subject.cost.run())

    async def written(count: int) -> None:
        async def are() -> bool:
            return subject.counted("written") == count

        await eventually(are)

    await written(1)
    subject.connections = 20
    await written(2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert api.costs == ["10", "20"]


async def test_a_gateway_tells_its_connections(
    api: Api, redis_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole gateway, from the setting to the API."""
    monkeypatch.setattr(jobs, "SERVICE_ACCOUNT", api.service_account)
    for name, value in api.environment.items():
        monkeypatch.setenv(name, value)
    settings = {"pod_deletion_cost": True, "pod_deletion_cost_interval_seconds": 1}
    async with started(redis_url, namespace, **settings) as pod, opened(pod), opened(pod):

        async def told() -> bool:  # the first patch may come while one client is still opening
            return api.costs[-1:] == ["2"]

        await eventually(told, what="both connections are told")
        await pod.counted("clarion_pod_deletion_cost_patches_total", outcome="written")
    assert api.requests[0].path.endswith(f"/pods/{pod.settings.pod}/status")
