"""Clarion under test: how to start its services, its tokens, and its publishers.

Events to all go through `clarion_contract.bus.bus` with script and history, as in a publisher pod.
The users are `bench-0`, `bench-1`, and so on. Each has one socket, so a gateway holds as many
subscriptions as sockets.
"""

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

import hiredis
import jwt

from clarion_bench.checkout import INSTALLED, Checkout
from clarion_bench.launch import Launch
from clarion_bench.processes import answers_ok, free_port
from clarion_bench.publishers import EVENT_TYPE
from clarion_contract.bus.bus import Bus, redis_from_url
from clarion_contract.bus.history_limits import HistoryLimits
from clarion_contract.events.audience import ALL, Audience, user_audience
from clarion_contract.events.event import Publication, Published
from clarion_contract.redis.keyspace import Keyspace

NAMESPACE = "bench"
SECRET = "a secret for benchmarks on loopback only"  # noqa: S105
SCOPES = "publish:all publish:authenticated publish:user"
# The services' defaults.
HISTORY = HistoryLimits(max_events=10_000, max_age_seconds=600, key_ttl_seconds=86_400)
_TOKEN_SECONDS = 6 * 3600
_TYPE = EVENT_TYPE.encode()


class RefusedError(RuntimeError):
    """The bus did not take an event."""


def token(subject: str, **claims: object) -> str:
    """Return an HS256 token for a user or, with a `scope`, for a publishing service."""
    claims = {"sub": subject, "exp": int(time.time()) + _TOKEN_SECONDS, **claims}
    return jwt.encode(claims, SECRET, algorithm="HS256")


def user(index: int) -> str:
    """Return the user id of socket number `index`."""
    return f"bench-{index}"


def queries(connections: int) -> list[str]:
    """Return one query string per socket, each with another user's token."""
    return [f"?token={token(user(index))}" for index in range(connections)]


def topic_queries(topics: Sequence[Sequence[str]]) -> list[str]:
    """Return one query string per socket, each with another user's token, which names topics."""
    return [
        f"?token={token(user(index), topics=list(names))}" for index, names in enumerate(topics)
    ]


def more_queries(connections: int) -> list[str]:
    """Return the same as `queries`, for paths that have a query already."""
    return [query.replace("?", "&") for query in queries(connections)]


def gateway(port: int, redis_url: str, code: Checkout = INSTALLED) -> Launch:
    """One gateway pod with its default settings."""
    internal = free_port()
    env = {
        "GATEWAY_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "GATEWAY_INTERNAL_HOST": "127.0.0.1",
        "GATEWAY_INTERNAL_PORT": str(internal),
        # No load balancer has to notice that the gateway leaves.
        "GATEWAY_DRAIN_PAUSE_SECONDS": "0",
        "GATEWAY_DRAIN_SPREAD_SECONDS": "0",
    }
    return _launch("gateway", env, internal, redis_url, code)


def compressing_gateway(port: int, redis_url: str) -> Launch:
    """The same, and clients that offer permessage-deflate get it."""
    plain = gateway(port, redis_url)
    return replace(plain, env={**plain.env, "GATEWAY_COMPRESSION": "true"})


def publisher(port: int, redis_url: str, code: Checkout = INSTALLED) -> Launch:
    """One publisher pod with its default settings."""
    internal = free_port()
    env = {
        "PUBLISHER_HOST": "127.0.0.1",
        "PUBLISHER_PORT": str(port),
        "PUBLISHER_INTERNAL_HOST": "127.0.0.1",
        "PUBLISHER_INTERNAL_PORT": str(internal),
    }
    return _launch("publisher", env, internal, redis_url, code)


def _launch(
    service: str, env: dict[str, str], internal: int, redis_url: str, code: Checkout
) -> Launch:
    shared = {
        "CLARION_REDIS_URL": redis_url,
        "CLARION_NAMESPACE": NAMESPACE,
        "CLARION_JWT_SECRET": SECRET,
    }
    return Launch(
        [code.python, "-m", f"clarion_{service}"],
        env={**code.env, **shared, **env},
        ready=lambda: answers_ok(f"http://127.0.0.1:{internal}/readyz"),
    )


class BusPublisher:
    """Publishes through Clarion's bus; event number n goes to `audience_of(n)`.

    Attributes:
        position: the id of the newest event; 0: there is none.
    """

    def __init__(self, redis_url: str, audience_of: Callable[[int], Audience]) -> None:
        self._runner = asyncio.Runner()
        self._bus = Bus(redis_from_url(redis_url), Keyspace(NAMESPACE), HISTORY)
        self._audience_of = audience_of
        self._sequence = 0
        self.position = 0

    def publish(self, payloads: Sequence[bytes]) -> None:
        """Publish events in one pipeline."""
        publications = [
            Publication(self._audience_of(self._sequence + index), EVENT_TYPE, payload)
            for index, payload in enumerate(payloads)
        ]
        self._sequence += len(payloads)
        for answer in self._runner.run(self._bus.publish(publications)):
            if not isinstance(answer, Published):
                raise RefusedError(str(answer)) from answer
            self.position = max(self.position, answer.id)

    def close(self) -> None:
        """Close the connection to Redis."""
        self._runner.run(self._bus.aclose())
        self._runner.close()


def to_all(redis_url: str) -> BusPublisher:
    """A publisher whose events go to all sockets."""
    return to_each(redis_url, [ALL])


def to_each(redis_url: str, audiences: Sequence[Audience]) -> BusPublisher:
    """A publisher whose events go to these audiences in turn, with history."""
    return BusPublisher(redis_url, lambda number: audiences[number % len(audiences)])


class ChannelPublisher:
    """Puts targeted events directly on their channels, as publish.lua does at its end.

    The script costs Redis about 30 µs per event. On two cores, Redis, load client and benchmark
    share one of them, so the script would be measured instead of the gateway. These events are
    therefore in no log, and a client could not resume from them.
    """

    def __init__(
        self,
        redis_url: str,
        audiences: Sequence[Audience],
        data_of: Callable[[int, bytes], bytes] = lambda _, payload: payload,
    ) -> None:
        """Connect to Redis.

        Args:
            audiences: they get the events in turn. One gateway listens to each of them.
            data_of: makes the data of event number n out of the benchmark's payload.
        """
        keys = Keyspace(NAMESPACE)
        self._channels = [keys.channel(audience.stream) for audience in audiences]
        self._data_of = data_of
        self._last = [0] * len(audiences)
        self._id = 0
        self._sequence = 0
        self._replies = hiredis.Reader()
        parts = urlsplit(redis_url)
        address = (parts.hostname or "127.0.0.1", parts.port or 6379)
        self._socket = socket.create_connection(address)

    def publish(self, payloads: Sequence[bytes]) -> None:
        """Publish events in one write, to each audience in turn; return when Redis has them."""
        self._socket.sendall(b"".join([self._command(payload) for payload in payloads]))
        replies = 0
        while replies < len(payloads):
            self._replies.feed(self._socket.recv(65_536))
            while (reply := self._replies.gets()) is not False:
                if reply != 1:
                    raise RefusedError(f"expected one subscriber, Redis answered {reply!r}")
                replies += 1

    def _command(self, payload: bytes) -> bytes:
        index = self._sequence % len(self._channels)
        data = self._data_of(self._sequence, payload)
        self._sequence += 1
        self._id = max(time.time_ns() // 1_000, self._id + 1)
        message = b"%d %d %b - -\n%b" % (self._id, self._last[index], _TYPE, data)
        self._last[index] = self._id
        command = ("PUBLISH", self._channels[index], message)
        packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]  # see its stub
        return packed

    def close(self) -> None:
        """Close the connection to Redis."""
        self._socket.close()


def to_users(redis_url: str, users: int) -> ChannelPublisher:
    """A publisher whose events go to single users, in turn."""
    return ChannelPublisher(redis_url, [user_audience(user(index)) for index in range(users)])
