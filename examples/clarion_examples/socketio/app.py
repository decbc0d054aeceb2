"""The backend beside the gateways: a page, a simulated session, and events of its own.

README.md says how to run it. It holds no sockets and knows no Redis.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, Final

import jwt
from fastapi import Cookie, FastAPI, Request, Response
from fastapi.responses import FileResponse

from clarion import ALL, AUTHENTICATED, Audience, user
from clarion.publisher import AsyncPublisher, ServiceToken

TOKEN_SECONDS: Final = 600
SCOPES: Final = ("publish:all", "publish:authenticated", "publish:user")
HERE: Final = Path(__file__).parent
CLIENT: Final = "node_modules/socket.io-client/dist/socket.io.esm.min.js"

_SHARED: Final = {"all": ALL, "authenticated": AUTHENTICATED}

Session = Annotated[str | None, Cookie(alias="session")]


@contextlib.asynccontextmanager
async def life(app: FastAPI) -> AsyncIterator[None]:
    """Open the publisher, and begin without sessions."""
    token = ServiceToken(os.environ["CLARION_JWT_SECRET"], "backend", SCOPES)
    async with AsyncPublisher(os.environ["PUBLISHER_URL"], token=token) as publisher:
        app.state.publisher = publisher
        app.state.sessions = dict[str, str]()
        yield


app = FastAPI(title="From NestJS", lifespan=life)


@app.post("/login/{name}", status_code=204)
def login(name: str, request: Request, response: Response) -> None:
    """Begin a session. It is simulated: everybody may be anybody."""
    session = secrets.token_urlsafe()
    request.app.state.sessions[session] = name
    response.set_cookie("session", session, httponly=True, samesite="strict")


@app.post("/logout", status_code=204)
def logout(request: Request, response: Response, session: Session = None) -> None:
    """End the session."""
    request.app.state.sessions.pop(session, None)
    response.delete_cookie("session")


@app.get("/token")
def token(request: Request, session: Session = None) -> dict[str, str]:
    """The ``auth`` of the page: the token of its session's user, or nothing for guests."""
    name = request.app.state.sessions.get(session)
    if name is None:
        return {}
    claims = {"sub": name, "exp": time.time() + TOKEN_SECONDS}
    return {"token": jwt.encode(claims, os.environ["CLARION_JWT_SECRET"])}


@app.post("/announce/{audience}", status_code=202)
async def announce(audience: str, data: dict[str, Any], request: Request) -> None:
    """The propagator of a backend without sockets: ``all``, ``authenticated``, or a user's name."""
    await request.app.state.publisher.publish(_audience(audience), "announcement", data)


@app.get("/gateway")
def gateway() -> str:
    """The address of the gateways for the page."""
    return os.environ.get("GATEWAY_URL", "http://127.0.0.1:8001")


@app.get("/socket.io.js", include_in_schema=False)
def client() -> FileResponse:
    """The library, as its makers publish it. A page with a bundler imports it instead."""
    script = os.environ.get("SOCKETIO_CLIENT", HERE / CLIENT)
    return FileResponse(script, media_type="text/javascript")


@app.get("/", include_in_schema=False)
def page() -> FileResponse:
    """The page."""
    return FileResponse(HERE / "page.html")


def _audience(name: str) -> Audience:
    return _SHARED.get(name) or user(name)
