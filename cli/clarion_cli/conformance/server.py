"""The rules that a server of ``clarion.v1`` keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from clarion import Audience, topic, user
from clarion.publisher import AsyncPublisher
from clarion_cli.conformance.check import Broken, Check, Skipped, expect
from clarion_cli.conformance.peer import connected, refusal
from clarion_cli.token import Signer

USER: Final = "conformance"
TOPIC: Final = "conformance.topic"
_TOKEN_SECONDS: Final = 600


@dataclass(frozen=True, slots=True)
class Server:
    """The server under test.

    Attributes:
        url: of its WebSocket.
        signer: signs tokens that it accepts; None: there is none.
        publisher: publishes to it; None: there is none.
    """

    url: str
    signer: Signer | None = None
    publisher: AsyncPublisher | None = None

    def token(self, *, subscribe: list[str] | None = None) -> str:
        """A token of the kit's user.

        Raises:
            Skipped: there is no secret to sign with.
        """
        if self.signer is None:
            raise Skipped("there is no secret to sign tokens with: set CLARION_JWT_SECRET")
        return self.signer.sign(USER, expires_seconds=_TOKEN_SECONDS, subscribe=subscribe)

    async def publish(self, audience: Audience, data: object, exclude: str | None = None) -> str:
        """Publish an event; return its id.

        Raises:
            Skipped: there is no publisher.
        """
        if self.publisher is None:
            raise Skipped("there is no publisher: give --publisher-url")
        receipt = await self.publisher.publish(audience, "conformance", data, exclude=exclude)
        return receipt.id


async def _welcome(server: Server) -> None:
    async with connected(server.url, server.token()) as peer:
        welcome = await peer.receive("welcome")
        expect(welcome["user"], USER, "`user` to be")
        expect(welcome["resumed"], None, "`resumed` of a first connection to be")
        expect(peer.socket.subprotocol, "clarion.v1", "the subprotocol")


async def _no_subprotocol(server: Server) -> None:
    async with connected(server.url, server.token(), subprotocols=()) as peer:
        await peer.receive("welcome")
        expect(peer.socket.subprotocol, None, "the subprotocol")


async def _other_subprotocol(server: Server) -> None:
    expect(await refusal(server.url, "some.other"), 400, "a refusal with status")


async def _other_path(server: Server) -> None:
    expect(await refusal(f"{server.url}/"), 404, "a refusal with status")


async def _bad_token(server: Server) -> None:
    async with connected(server.url, "nonsense") as peer:
        await peer.closes_with(4401)


async def _bad_since(server: Server) -> None:
    async with connected(server.url, server.token(), since="yesterday") as peer:
        await peer.closes_with(4400)


async def _bad_topic(server: Server) -> None:
    async with connected(server.url, server.token(), topic="a.*") as peer:
        await peer.closes_with(4400)


async def _resumes(server: Server) -> None:
    async with connected(server.url, server.token()) as peer:
        welcome = await peer.receive("welcome")
    missed = await server.publish(user(USER), "missed")
    excluded = await server.publish(user(USER), "excluded", welcome["connection"])
    since = {"since": welcome["id"], "connection": welcome["connection"]}
    async with connected(server.url, server.token(), **since) as peer:
        again = await peer.receive("welcome")
        expect(again["resumed"], True, "`resumed` to be")
        expect(again["id"], welcome["id"], "`id` to be the client's own position")
        event = await peer.receive("event")
        expect(event["id"], missed, "the missed event with id")
        live = await server.publish(user(USER), "live")
        event = await peer.receive("event")
        if event["id"] == excluded:
            raise Broken("expected the replay to leave out what excludes the client's connection")
        expect(event["id"], live, "the next event with id")


async def _position_ahead(server: Server) -> None:
    async with connected(server.url, server.token(), since="9" * 16) as peer:
        welcome = await peer.receive("welcome")
        expect(welcome["resumed"], False, "`resumed` to be")


async def _events(server: Server) -> None:
    async with connected(server.url, server.token()) as peer:
        welcome = await peer.receive("welcome")
        await server.publish(user(f"not-{USER}"), 0)
        await server.publish(user(USER), 1, welcome["connection"])
        ids = [await server.publish(user(USER), number) for number in (2, 3)]
        events = [await peer.receive("event") for _ in ids]
        expect([event["id"] for event in events], ids, "the events with ids")
        expect([event["audience"] for event in events], ["user"] * 2, "the audiences")


async def _malformed(server: Server) -> None:
    async with connected(server.url, server.token()) as peer:
        await peer.receive("welcome")
        await peer.send(kind="conformance")
        error = await peer.receive("error")
        expect((error["code"], error["ref"]), ("malformed", None), "`code` and `ref` to be")
        for _ in range(10):
            await peer.send(kind="message", type="t", more=1)
        await peer.closes_with(4400)


async def _binary(server: Server) -> None:
    async with connected(server.url, server.token()) as peer:
        await peer.receive("welcome")
        await peer.socket.send(b"{}")
        await peer.closes_with(1003)


async def _refs(server: Server) -> None:
    async with connected(server.url, server.token()) as peer:
        await peer.receive("welcome")
        for ref in (1, "r-1", None):
            await peer.send(kind="message", ref=ref, type="conformance.unknown", data=None)
            error = await peer.receive("error")
            expect((error["code"], error["ref"]), ("unknown_type", ref), "`code` and `ref` to be")


async def _identity(server: Server) -> None:
    async with connected(server.url, server.token()) as peer:
        await peer.receive("welcome")
        await peer.send(kind="auth", ref=1, token="nonsense")  # noqa: S106 - none
        expect((await peer.receive("error"))["code"], "unauthenticated", "`code` to be")
        await peer.send(kind="auth", ref=2, token=server.token())
        identity = await peer.receive("identity")
        expect((identity["ref"], identity["user"]), (2, USER), "`ref` and `user` to be")


async def _topics(server: Server) -> None:
    token = server.token(subscribe=["conformance.*"])
    async with connected(server.url, token, topic=[TOPIC, "forbidden"]) as peer:
        welcome = await peer.receive("welcome")
        expect(welcome.get("topics"), [TOPIC], "`topics` to be")
        expect(welcome.get("forbidden"), ["forbidden"], "`forbidden` to be")
        id_ = await server.publish(topic(TOPIC), 1)
        event = await peer.receive("event")
        expect((event["id"], event["topic"]), (id_, TOPIC), "`id` and `topic` to be")


async def _subscribes(server: Server) -> None:
    async with connected(server.url, server.token(subscribe=["conformance.*"])) as peer:
        await peer.receive("welcome")
        await peer.send(kind="subscribe", ref=1, topics=[TOPIC, "forbidden"])
        answer = await peer.receive("subscribed")
        expect(answer["topics"], [TOPIC], "`topics` to be")
        expect(answer.get("forbidden"), ["forbidden"], "`forbidden` to be")
        await peer.send(kind="unsubscribe", ref=2, topics=[TOPIC])
        expect((await peer.receive("unsubscribed"))["topics"], [TOPIC], "`topics` to be")


CHECKS: Final = (
    Check("welcome is the first message, and clarion.v1 is selected", "welcome", _welcome),
    Check("a client without a subprotocol is served", "handshake", _no_subprotocol),
    Check("other subprotocols are refused with 400", "handshake", _other_subprotocol),
    Check("other paths are refused with 404", "handshake", _other_path),
    Check("a bad token is closed with 4401", "handshake", _bad_token),
    Check("a position that is no id is closed with 4400", "handshake", _bad_since),
    Check("a pattern is no topic and is closed with 4400", "topics", _bad_topic),
    Check("events come in order, to their audience, without the excluded", "order", _events),
    Check("a client that resumes misses nothing and gets nothing twice", "resume", _resumes),
    Check("a position from elsewhere is not resumed", "resume", _position_ahead),
    Check("malformed messages get an error; the eleventh ends it", "messages", _malformed),
    Check("a binary message is closed with 1003", "messages", _binary),
    Check("an answer has the ref of its message", "messages", _refs),
    Check("a token logs in on the open connection", "messages", _identity),
    Check("topics in the query are granted by the token", "topics", _topics),
    Check("topics are subscribed to on the open connection", "topics", _subscribes),
)
"""In the order of docs/protocol.md."""
