"""The socket of a check: every message that the server sends is validated."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from clarion.local import is_local
from clarion_cli.conformance.check import Broken, expect
from clarion_cli.failure import ExitCode, Failure
from clarion_contract.protocol.schemas import schema

Fields = dict[str, Any]


class Peer:
    """A client of the server under test."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def receive(self, kind: str) -> Fields:
        """The next message that is no ping; it must have that kind."""
        while True:
            try:
                fields = read(await self.socket.recv())
            except ConnectionClosed as closed:
                code = closed.rcvd.code if closed.rcvd else 1006
                raise Broken(f"expected a message {kind!r}, got a close with {code}") from None
            if fields["kind"] != "ping":
                expect(fields["kind"], kind, "a message of kind")
                return fields

    async def send(self, **fields: object) -> None:
        """Send a message. At a connection that has ended, the next ``receive`` says so."""
        with contextlib.suppress(ConnectionClosed):
            await self.socket.send(json.dumps(fields))

    async def closes_with(self, code: int) -> None:
        """Wait for the close; messages before it are let pass."""
        await self.socket.wait_closed()
        expect(self.socket.close_code, code, "a close with code")


def read(text: str | bytes) -> Fields:
    """The fields of a message, which the schema must allow.

    Raises:
        Broken: it is no text, no JSON, or has another form.
    """
    if isinstance(text, bytes):
        raise Broken("expected text messages, got a binary one")
    try:
        fields = json.loads(text)
    except ValueError:
        raise Broken(f"expected JSON, got {text[:200]!r}") from None
    if error := _errors()(fields):
        raise Broken(f"{error}, in {text[:200]}")
    return dict(fields)


@cache
def _errors() -> Callable[[Any], str | None]:
    """A function that says what is wrong with a message of the server."""
    from jsonschema_rs import ValidationError, validator_for  # noqa: PLC0415 - slow to import

    validator = validator_for(schema("server"))

    def error(fields: Any) -> str | None:  # noqa: ANN401 - whatever came
        try:
            validator.validate(fields)
        except ValidationError as invalid:
            return str(invalid.message)
        return None

    return error


@asynccontextmanager
async def connected(
    url: str,
    token: str | None = None,
    *,
    subprotocols: tuple[str, ...] = ("clarion.v1",),
    **query: str | list[str],
) -> AsyncIterator[Peer]:
    """A socket at the server; the first message is not read yet.

    Raises:
        Broken: the handshake is refused.
        Failure: no server answers.
    """
    address = f"{url}?{urlencode(query, doseq=True)}" if query else url
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        socket = await connect(
            address,
            subprotocols=[Subprotocol(each) for each in subprotocols] or None,
            additional_headers=headers,
            proxy=None if is_local(url) else True,
            close_timeout=2,
        )
    except InvalidStatus as refused:
        status = refused.response.status_code
        raise Broken(f"expected a WebSocket, got the status {status}") from None
    except InvalidHandshake as error:
        raise Broken(f"expected a WebSocket, got {error}") from None
    except OSError as error:
        raise _unreachable(url, error) from None
    try:
        yield Peer(socket)
    finally:
        await socket.close()


async def refusal(url: str, *subprotocols: str) -> int | None:
    """The status with which a handshake is refused; None: it is accepted.

    Raises:
        Broken: the answer is no HTTP.
        Failure: no server answers.
    """
    try:
        async with connect(
            url,
            subprotocols=[Subprotocol(each) for each in subprotocols] or None,
            proxy=None if is_local(url) else True,
        ):
            return None
    except InvalidStatus as refused:
        return refused.response.status_code
    except InvalidHandshake as error:
        raise Broken(f"expected a refusal with a status, got {error}") from None
    except OSError as error:
        raise _unreachable(url, error) from None


def _unreachable(url: str, error: OSError) -> Failure:
    return Failure(f"no server answers at {url}: {error}", ExitCode.UNREACHABLE)
