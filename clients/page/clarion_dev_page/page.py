"""The development page at ``/`` and its endpoints; mounted in the dev profile only.

It gives anybody tokens for any user and for publishing, so it must never be reachable from the
internet. It answers only to requests for an address or a local name, so that no page from elsewhere
can get such tokens. It works only with a shared secret; with a public key or a JWKS, the tokens
must come from the issuer.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import time
from collections.abc import Awaitable, Callable, Collection
from importlib import metadata, resources
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import jwt
import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from clarion_contract.events.audience import InvalidUserId, check_user_id
from clarion_contract.service.origins import is_own
from clarion_gateway.settings import GatewaySettings

TOKEN_SECONDS: Final = 3_600
PUBLISH_SCOPE: Final = "publish:all publish:authenticated publish:user publish:topic"
FILES: Final = (
    "page.js", "flow.js", "rows.js", "requests.js", "client.js", "socketio.js",
    "page.css", "icon.svg",
)  # fmt: skip
SOCKETIO_CLIENT: Final = "node_modules/socket.io-client/dist/socket.io.esm.min.js"
"""`make run` puts the library from npm there, beside the package. Wheels do not have it."""
_EVERY_TOPIC: Final = ("**",)
_DISTRIBUTION: Final = "clarion"
_BODY_MAX_BYTES: Final = 4_096
_HOST_SHOWN_CHARACTERS: Final = 100
_JSON: Final = "application/json"
# The exit status of a process that SIGKILL ends, as shells show it.
_KILLED: Final = 137
# In it, the answer leaves.
_KILL_SECONDS: Final = 0.05

Endpoint = Callable[[Request], Awaitable[Response]]


class TokenRequest(msgspec.Struct):
    """The body of ``POST /dev/token``."""

    user: str


class KillRequest(msgspec.Struct):
    """The body of ``POST /dev/kill``. A load balancer may take it to another pod than meant."""

    pod: str


def _end_at_once() -> None:
    """End the process as SIGKILL does, which a container's first process cannot send itself."""
    os._exit(_KILLED)


def routes(
    settings: GatewaySettings, *, end_at_once: Callable[[], None] = _end_at_once
) -> list[Route]:
    """The page, its files, ``GET /dev/links``, ``GET /dev/session`` and ``POST /dev/token``.

    With `GATEWAY_DEV_KILL`, also ``POST /dev/kill``.

    Args:
        end_at_once: ends the process.
    """
    page = DevPage(settings, end_at_once)
    hosts = frozenset(urlsplit(origin).hostname for origin in settings.allowed_origins)

    def route(path: str, endpoint: Endpoint, method: str = "GET") -> Route:
        return Route(path, _for_own_hosts(endpoint, hosts), methods=[method])

    killing = [route("/dev/kill", page.kill, "POST")] if settings.dev_kill else []
    return [
        route("/", page.show),
        *killing,
        *(route(f"/dev/{name}", page.file) for name in FILES),
        route("/dev/socket.io.js", page.socketio_client),
        route("/dev/links", page.links),
        route("/dev/session", page.session),
        route("/dev/token", page.token, "POST"),
    ]


class DevPage:
    """The endpoints, for one gateway's settings."""

    def __init__(self, settings: GatewaySettings, end_at_once: Callable[[], None]) -> None:
        self._settings = settings
        self._end_at_once = end_at_once
        self._folder = Path(str(resources.files("clarion_dev_page") / "static"))
        self._socketio_client = self._folder.parent.parent / SOCKETIO_CLIENT
        self._headers = {
            "Cache-Control": "no-store",
            "Content-Security-Policy": _content_policy(settings.dev_publisher_url),
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }

    async def show(self, request: Request) -> Response:  # noqa: ARG002
        """The page itself."""
        return FileResponse(self._folder / "page.html", headers=self._headers)

    async def file(self, request: Request) -> Response:
        """A file of the page. Each file has its own route, so no path is ever joined."""
        name = request.url.path.rpartition("/")[2]
        return FileResponse(self._folder / name, headers=self._headers)

    async def socketio_client(self, request: Request) -> Response:  # noqa: ARG002
        """The client of Socket.IO, where it has been fetched."""
        if not self._socketio_client.exists():
            return _refusal(404, "socket.io-client is not here: `make run` gets it where npm is")
        return FileResponse(self._socketio_client, headers=self._headers)

    async def links(self, request: Request) -> Response:  # noqa: ARG002
        """The pages that this page links to, and what it can offer."""
        return self._answer(
            {
                "publisher_url": self._settings.dev_publisher_url,
                "gateway_urls": self._settings.dev_gateway_urls,
                "docs_url": _docs_url(),
                "can_kill": self._settings.dev_kill,
                "socketio_path": self._socketio_path(),
            }
        )

    async def session(self, request: Request) -> Response:  # noqa: ARG002
        """The address at which the page publishes, and a token for it."""
        if self._settings.jwt_secret is None:
            return _refusal(501, "the page's tokens need CLARION_JWT_SECRET")
        token = self._sign({"sub": "dev-page", "scope": PUBLISH_SCOPE})
        return self._answer(
            {"publisher_url": self._settings.dev_publisher_url, "publish_token": token}
        )

    async def token(self, request: Request) -> Response:
        """A token for any user, with which the page may ask for any topic."""
        if self._settings.jwt_secret is None:
            return _refusal(501, "the page's tokens need CLARION_JWT_SECRET")
        try:
            user = check_user_id(msgspec.json.decode(await _body(request), type=TokenRequest).user)
        except HTTPException as error:
            return _refusal(error.status_code, error.detail)
        except (msgspec.DecodeError, InvalidUserId) as error:
            return _refusal(400, f'expected {{"user": "alice"}}: {error}')
        grants = {self._settings.subscribe_claim: _EVERY_TOPIC}
        return self._answer({"token": self._sign({"sub": user, **grants})})

    async def kill(self, request: Request) -> Response:
        """End this gateway as a crash does: nothing is drained, no client is told."""
        # A page from elsewhere cannot send this type without a preflight, which CORS refuses.
        if request.headers.get("content-type") != _JSON:
            return _refusal(415, f"expected {_JSON}")
        if not _is_own_page(request):
            return _refusal(403, "expected a request of this gateway's own page")
        try:
            pod = msgspec.json.decode(await _body(request), type=KillRequest).pod
        except HTTPException as error:
            return _refusal(error.status_code, error.detail)
        except msgspec.DecodeError as error:
            return _refusal(400, f'expected {{"pod": "gateway-1"}}: {error}')
        if pod != self._settings.pod:
            return _refusal(409, f"this is {self._settings.pod}: try again")
        asyncio.get_running_loop().call_later(_KILL_SECONDS, self._end_at_once)
        return self._answer({"pod": pod})

    def _socketio_path(self) -> str | None:
        """The path for clients of Socket.IO; None: the page cannot be one."""
        is_here = self._settings.socketio and self._socketio_client.exists()
        return f"{self._settings.socketio_path}/" if is_here else None

    def _answer(self, value: dict[str, Any]) -> Response:
        return JSONResponse(value, headers={"Cache-Control": "no-store"})

    def _sign(self, claims: dict[str, Any]) -> str:
        settings = self._settings
        if settings.jwt_secret is None:
            raise ValueError("expected a secret to sign with, got none")
        now = time.time()
        # Not rounded, so that a revocation in the same second affects only older tokens.
        claims = {**claims, "iat": now, "exp": int(now) + TOKEN_SECONDS}
        claims[settings.jwt_user_claim] = claims["sub"]
        if settings.jwt_audience:
            claims["aud"] = settings.jwt_audience[0]
        if settings.jwt_issuer:
            claims["iss"] = settings.jwt_issuer[0]
        return jwt.encode(claims, settings.jwt_secret.get_secret_value(), algorithm="HS256")


def _for_own_hosts(endpoint: Endpoint, hosts: Collection[str | None]) -> Endpoint:
    """The endpoint, but only for requests whose Host no other site can point at this machine.

    Any site may point a name of its own at 127.0.0.1. Its page then has the same origin as this
    one, and the browser lets it read tokens (DNS rebinding). No site can point an address.
    """

    async def answer(request: Request) -> Response:
        host = request.headers.get("host", "")
        if _is_own_host(host, hosts):
            return await endpoint(request)
        detail = "expected localhost, an address, or a host of GATEWAY_ALLOWED_ORIGINS as the Host"
        return _refusal(421, f"{detail}, got {host[:_HOST_SHOWN_CHARACTERS]}")

    return answer


def _is_own_page(request: Request) -> bool:
    """Whether no page of another origin sends the request. Programs send no Origin."""
    origin = request.headers.get("origin")
    return origin is None or is_own(origin, request.headers.get("host", ""), tls=False)


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _BODY_MAX_BYTES:
            raise HTTPException(413, f"expected at most {_BODY_MAX_BYTES} bytes")
    return body


def _is_own_host(host: str, hosts: Collection[str | None]) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:  # not a valid IPv6 address in brackets
        return False
    if name is None:
        return False
    if name == "localhost" or name.endswith(".localhost") or name in hosts:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _content_policy(publisher_url: str) -> str:
    """Allows nothing inline and no files from elsewhere; connections to gateway and publisher."""
    parts = urlsplit(publisher_url)
    publisher = f"{parts.scheme}://{parts.netloc}"
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        f"connect-src 'self' ws: wss: {publisher}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _docs_url() -> str | None:
    """The address of the documentation, from the package's metadata; None: it has none yet."""
    entries = metadata.metadata(_DISTRIBUTION).get_all("Project-URL") or []
    urls = {label: url for label, _, url in (entry.partition(", ") for entry in entries)}
    url = urls.get("Documentation", "")
    is_placeholder = (urlsplit(url).hostname or ".example").endswith(".example")  # RFC 2606
    return None if is_placeholder else url


def _refusal(status: int, detail: str) -> Response:
    """An RFC 9457 problem document."""
    return JSONResponse(
        {"title": "Refused", "status": status, "detail": detail},
        status_code=status,
        media_type="application/problem+json",
    )
