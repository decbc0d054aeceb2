"""The things that pods of two releases must be able to do together, tried on each mixture.

Each round uses everything that is stored in Redis or sent over its channels: events with every
optional part, their logs, idempotency keys, presence, and orders. It also reads what earlier rounds
have written, so each release reads the data of the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import httpx
import jwt
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from clarion_cli.token import SCOPES
from tests.cli.clarion import SECRET
from tests.e2e.client import Fields, Socket, opened
from tests.e2e.stack import Service
from tests.upgrade.fleet import Fleet

USER, QUIET_USER = "ursula", "quinn"
SECONDS = 30.0
TYPE = "examined"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
REVOKED, DISCONNECTED = 4401, 4409

# Of two rounds.
_KEYS = 16


class Examination:
    """Rounds of examination; `story` is everything that the user should have heard so far."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._stack = fleet.stack
        self._since: str | None = None
        self._story: list[str] = []
        self._fleeting: list[str] = []
        self._keyed: list[tuple[Fields, str]] = []
        self._revoked: list[str] = []
        self._client = httpx.AsyncClient(trust_env=False, timeout=SECONDS)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def round(self) -> None:
        """Examine everything once, with every gateway and every publisher."""
        if self._since is None:
            self._since = await self._position()
        async with AsyncExitStack() as exits:
            users = [await self._socket(each, exits, USER) for each in self._stack.gateways]
            guests = [await self._socket(each, exits, None) for each in self._stack.gateways]
            await self._events(users, guests)
        await self._keys()
        await self._revocations()
        await self._resume()
        async with AsyncExitStack() as exits:
            users = [await self._socket(each, exits, USER) for each in self._stack.gateways]
            await self._presence()
            await self._disconnect(users)

    async def _socket(self, gateway: Service, exits: AsyncExitStack, user: str | None) -> Socket:
        bearer = None if user is None else self._stack.token(user)
        return await exits.enter_async_context(opened(gateway.url, bearer))

    async def _position(self) -> str:
        """A position from which a client can resume. On a cluster, a position is valid only if the
        data set is older than the possible difference of its clocks, and each user's part of the
        data set begins by itself.
        """
        deadline = time.monotonic() + SECONDS
        url, token = self._stack.gateways[0].url, self._stack.token(USER)
        while True:
            async with opened(url, token) as socket:
                position = str(socket.welcome["id"])
            if all([await self._resumes(user, position) for user in (USER, QUIET_USER)]):
                return position
            assert time.monotonic() < deadline, "no position can be resumed from"
            await asyncio.sleep(0.1)

    async def _resumes(self, user: str, position: str) -> bool:
        url, token = self._stack.gateways[0].url, self._stack.token(user)
        async with opened(url, token, since=position) as socket:
            return bool(socket.welcome["resumed"])

    async def _events(self, users: Sequence[Socket], guests: Sequence[Socket]) -> None:
        """Each publisher publishes to each audience, each gateway's handlers publish to all."""
        excluded = users[0].welcome["connection"]
        of_guests, of_users, of_others = [], [], []
        for publisher in self._fleet.publishers:
            of_others.append(await self._publish(publisher, "all", exclude=excluded))
            of_guests.append(await self._publish(publisher, "all"))
            of_users.append(await self._publish(publisher, "authenticated"))
            of_users.append(await self._publish(publisher, {"user": USER}))
            of_guests += await self._publish_without_history(publisher)
        said = []
        for number, user in enumerate(users):
            said.append(uuid.uuid4().hex)
            await user.send(
                kind="message", ref=number, type="chat.message", data={"text": said[-1]}
            )
        hearing = [self._hears(guest, [*of_guests, *of_others, *said]) for guest in guests]
        for number, user in enumerate(users):
            others = [text for text in said if text != said[number]]
            own = of_others if user.welcome["connection"] != excluded else []
            replies = [f"reply {number}"]
            hearing.append(self._hears(user, [*of_guests, *of_users, *own, *others, *replies]))
        await asyncio.gather(*hearing)
        story = [*of_guests, *of_users, *of_others, *said]
        self._story += [word for word in story if word not in self._fleeting]

    async def _publish(self, publisher: Service, audience: object, **more: object) -> str:
        """Publish an event with every optional part; return the word that it carries."""
        word = uuid.uuid4().hex
        event = {"audience": audience, "type": TYPE, "data": word, "key": word, **more}
        answer = await self._post(publisher, event)
        assert not answer["duplicate"], answer
        self._keyed.append((event, answer["id"]))
        return word

    async def _publish_without_history(self, publisher: Service) -> list[str]:
        """Publish what only clients of now get, if the publisher's release can; return its words."""
        if not self._fleet.is_new(publisher):
            return []
        word = uuid.uuid4().hex
        self._fleeting.append(word)
        event = {"audience": "all", "type": TYPE, "data": word, "history": False}
        await self._post(publisher, event)
        return [word]

    async def _post(self, publisher: Service, event: Fields) -> Fields:
        token = self._stack.signer.sign("tests", scope=" ".join(SCOPES), expires_seconds=60)
        response = await self._client.post(
            f"{publisher.url}/v1/events",
            json=event,
            headers={"Authorization": f"Bearer {token}", "traceparent": TRACE},
        )
        assert response.is_success, response.text
        answer: Fields = response.json()
        return answer

    async def _hears(self, socket: Socket, words: Sequence[str], *, again: bool = False) -> None:
        """Check that these words come and no others, in any order; the witness checks the order.

        Args:
            again: a word may come twice, as after a resume in a cluster.
        """
        missing = Counter(words)
        try:
            async with asyncio.timeout(SECONDS):
                while missing.total():
                    word = _word(await socket.receive())
                    if word in self._fleeting and word not in words:
                        continue  # the last release keeps it in the memory of its gateways
                    if word is not None and not (again and word in words and not missing[word]):
                        assert missing[word], f"{word} is for somebody else, or came twice"
                        missing[word] -= 1
        except TimeoutError:
            pod = socket.welcome["pod"]
            raise AssertionError(f"{pod} kept {missing.total()} of {len(words)} words") from None

    async def _keys(self) -> None:
        """Check that every publisher knows the keys of this round and the last, of any producer."""
        for publisher in self._fleet.publishers:
            for event, id_ in self._keyed[-_KEYS:]:
                answer = await self._post(publisher, event)
                assert (answer["duplicate"], answer["id"]) == (True, id_), (event, answer)

    async def _presence(self) -> None:
        """Check that each publisher sees a user's sockets and the load of every gateway."""
        names = [gateway.program.name for gateway in self._stack.gateways]
        for publisher in self._fleet.publishers:
            await self._eventually(
                publisher,
                f"/v1/users/{USER}",
                lambda said: (
                    {pod["pod"]: pod["connections"] for pod in said["pods"]}
                    == dict.fromkeys(names, 1)
                ),
            )
            await self._eventually(
                publisher,
                "/v1/connections",
                lambda said: [pod["pod"] for pod in said["pods"]] == names,
            )

    async def _eventually(
        self, publisher: Service, path: str, condition: Callable[[Any], bool]
    ) -> None:
        deadline = time.monotonic() + SECONDS
        token = self._stack.signer.sign("tests", scope="users:read", expires_seconds=60)
        while True:
            response = await self._client.get(
                publisher.url + path, headers={"Authorization": f"Bearer {token}"}
            )
            assert response.is_success, response.text
            if condition(response.json()):
                return
            assert time.monotonic() < deadline, (publisher.program.command, response.json())
            await asyncio.sleep(0.05)

    async def _revocations(self) -> None:
        """Check that every gateway refuses tokens that any publisher revoked, now and later."""
        for publisher in self._fleet.publishers:
            token_id = uuid.uuid4().hex
            bearer = _token(f"thief-{token_id}", token_id)
            async with AsyncExitStack() as exits:
                sockets = [
                    await exits.enter_async_context(opened(gateway.url, bearer))
                    for gateway in self._stack.gateways
                ]
                await self._order(publisher, f"/v1/tokens/{token_id}/revoke")
                codes = [await _close_code(socket) for socket in sockets]
            assert codes == [REVOKED] * 2, codes
            self._revoked.append(bearer)
        for gateway in self._stack.gateways:
            for bearer in self._revoked:
                assert await _refusal(gateway, bearer) == REVOKED

    async def _resume(self) -> None:
        """Check that every gateway returns all events published since the first round."""
        assert self._since is not None
        for gateway in self._stack.gateways:
            async with opened(gateway.url, self._stack.token(USER), since=self._since) as socket:
                assert socket.welcome["resumed"] is True, socket.welcome
                await self._hears(socket, self._story, again=True)
            # Without a log of the user's own: how far back is good is told by the clock's epoch
            # alone.
            token = self._stack.token(QUIET_USER)
            async with opened(gateway.url, token, since=self._since) as socket:
                assert socket.welcome["resumed"] is True, socket.welcome

    async def _disconnect(self, sockets: Sequence[Socket]) -> None:
        """The publishers take turns."""
        publisher = self._fleet.publishers[len(self._revoked) // 2 % 2]
        await self._order(publisher, f"/v1/users/{USER}/disconnect")
        codes = [await _close_code(socket) for socket in sockets]
        assert codes == [DISCONNECTED] * 2, codes

    async def _order(self, publisher: Service, path: str) -> None:
        token = self._stack.signer.sign("tests", scope=" ".join(SCOPES), expires_seconds=60)
        response = await self._client.post(
            publisher.url + path, json={}, headers={"Authorization": f"Bearer {token}"}
        )
        assert response.is_success, response.text
        assert response.json()["gateways"] == len(self._stack.gateways), response.text


def _word(message: Fields) -> str | None:
    """The word that a message of the examination carries; None for those of the witness."""
    if message["kind"] == "reply":
        return f"reply {message['ref']}"
    assert message["kind"] == "event", message
    if message["type"] == TYPE:
        return str(message["data"])
    return str(message["data"]["text"]) if message["type"] == "chat.message" else None


async def _close_code(socket: Socket) -> int | None:
    """The code with which a gateway closes; None: it does not close.

    Reads all messages before the close: unread ones would delay it.
    """
    with contextlib.suppress(ConnectionClosed, TimeoutError):
        async with asyncio.timeout(SECONDS):
            while True:
                await socket.receive()
    return socket.connection.close_code


def _token(user: str, token_id: str) -> str:
    now = int(time.time())
    return jwt.encode({"sub": user, "jti": token_id, "iat": now, "exp": now + 600}, SECRET)


async def _refusal(gateway: Service, bearer: str) -> int | None:
    """The code with which a gateway turns a client away; None: it admits the client."""
    address = gateway.url.replace("http", "ws", 1) + "/ws"
    headers = {"Authorization": f"Bearer {bearer}"}
    async with connect(address, additional_headers=headers, proxy=None) as connection:
        with contextlib.suppress(ConnectionClosed):
            first = json.loads(await asyncio.wait_for(connection.recv(decode=True), SECONDS))
            assert first["kind"] == "welcome", first
        return connection.close_code
