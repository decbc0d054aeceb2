"""`clarion_gateway.clients.inbox`: messages pass through handlers in order, and a handler's faults
affect no other connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import msgspec
import pytest

from clarion_contract.bus.bus import Answer as BusAnswer
from clarion_contract.bus.publish_queue import PublishQueue
from clarion_contract.events.audience import ALL, AUTHENTICATED
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.events.event import Publication, Published
from clarion_gateway.application.context import Context
from clarion_gateway.application.handlers import Handlers
from clarion_gateway.application.interceptors import authenticated_only, propagate
from clarion_gateway.application.refusal import Refusal
from clarion_gateway.clients.asks import Asks
from clarion_gateway.clients.host import GatewayHost
from clarion_gateway.clients.identity_changes import IdentityChanges
from clarion_gateway.clients.inbox import Inboxes
from clarion_gateway.clients.memberships import Memberships
from clarion_gateway.connections.connection import Connection, State
from clarion_gateway.connections.hub import Hub
from clarion_gateway.connections.inbound import Inbound
from clarion_gateway.wire.format import TopicsHeard
from clarion_gateway.wire.messages import Answer, Authenticate, Message, Subscribe, Unsubscribe
from tests.gateway.recorder import Recorder, metrics, sample, settings


class PublishedEvents:
    """A bus that records published events."""

    def __init__(self) -> None:
        self.publications: list[Publication] = []
        self.down = False

    async def publish(self, publications: Sequence[Publication]) -> list[BusAnswer]:
        if self.down:
            raise BusUnavailable("down")
        self.publications += publications
        return [Published(i, duplicate=False, gateways=1) for i, _ in enumerate(publications)]


class LoggedIn:
    """Identity changes that record the tokens that they were asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str | None, bytes]] = []

    async def authenticate(self, connection: Connection, token: str | None, ref: bytes) -> None:
        self.asked.append((token, ref))
        connection.write(connection.format.identity(ref, token, None))


class Followed:
    """Memberships that record the topics that they were asked for, and answer at once."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    async def subscribe(self, connection: Connection, message: Subscribe) -> None:
        self.asked.append(message.topics)
        heard = TopicsHeard(message.topics)
        connection.write(connection.format.subscribed(message.ref, 1, heard))

    async def unsubscribe(self, connection: Connection, message: Unsubscribe) -> None:
        connection.write(connection.format.unsubscribed(message.ref, message.topics, ()))


class Application:
    """Inboxes with the test's handlers, in a task group as in a gateway."""

    def __init__(self, **overrides: Any) -> None:
        self.handlers = Handlers()
        self.bus = PublishedEvents()
        self.identities = LoggedIn()
        self.memberships = Followed()
        self.metrics = metrics()
        self.hub = Hub()
        self.inbound = Inbound(1 << 20)
        self.settings = settings(**overrides)
        self.tasks: list[asyncio.Task[None]] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Application]:
        queue = PublishQueue(self.bus, max_pending=100)
        async with asyncio.TaskGroup() as group:

            def spawn(_name: str, work: Any) -> None:
                self.tasks.append(group.create_task(work))

            self.inboxes = Inboxes(
                cast("IdentityChanges", self.identities),
                cast("Memberships", self.memberships),
                self.handlers,
                GatewayHost(queue, Asks(self.metrics, max_per_connection=2), self.inbound),
                self.metrics,
                spawn,
                self.settings,
                self.inbound,
            )
            emptying = group.create_task(queue.run())
            yield self
            emptying.cancel()

    def connect(self, user: str | None = None) -> Recorder:
        connection = Recorder(user)
        self.hub.add(connection)
        return connection

    def say(self, connection: Recorder, type_: str, data: Any = None, ref: Any = 1) -> None:
        message = Message(type_, msgspec.json.encode(data), msgspec.json.encode(ref))
        self.inboxes.put(connection, message)

    async def settled(self) -> None:
        """Wait until all messages so far have been answered."""
        async with asyncio.timeout(60):
            await asyncio.gather(*self.tasks)

    def outcomes(self, outcome: str) -> float:
        return sample(self.metrics, "clarion_messages_received_total", outcome=outcome)


@pytest.fixture
async def app() -> AsyncIterator[Application]:
    async with Application(handler_backlog=4).running() as application:
        yield application


@pytest.fixture
async def hasty() -> AsyncIterator[Application]:
    """An application that gives handlers little time. Only for handlers that hang."""
    async with Application(handler_seconds=0.05).running() as application:
        yield application


def error(connection: Recorder) -> tuple[str, str]:
    (message,) = connection.messages
    assert message["kind"] == "error"
    assert message["ref"] == 1
    return message["code"], message["message"]


async def test_a_reply_bears_the_messages_ref(app: Application) -> None:
    @app.handlers.on("echo")
    async def echo(message: Any, context: Context) -> Any:
        return [message, context.user, context.connection, context.pod, context.type]

    alice = app.connect("alice")
    app.say(alice, "echo", {"a": 1}, ref="r-1")
    await app.settled()
    assert alice.messages == [
        {
            "kind": "reply",
            "ref": "r-1",
            "data": [{"a": 1}, "alice", alice.id, "pod-test", "echo"],
        }
    ]
    assert app.outcomes("handled") == 1
    assert sample(app.metrics, "clarion_handler_duration_seconds_count") == 1


async def test_one_connections_messages_are_handled_in_order_one_at_a_time(
    app: Application,
) -> None:
    running = 0

    @app.handlers.on("slow")
    async def slow(message: int, context: Context) -> int:
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(0.003 * (3 - message))
        running -= 1
        return message

    alice = app.connect("alice")
    for number in range(3):
        app.say(alice, "slow", number, ref=number)
    await app.settled()
    assert [message["data"] for message in alice.messages] == [0, 1, 2]


async def test_a_slow_handler_of_one_delays_no_other(app: Application) -> None:
    gate = asyncio.Event()

    @app.handlers.on("wait")
    async def wait(message: Any, context: Context) -> None:
        if context.user == "alice":
            await gate.wait()

    alice, bob = app.connect("alice"), app.connect("bob")
    app.say(alice, "wait")
    app.say(bob, "wait")
    for _ in range(5):
        await asyncio.sleep(0)
    assert bob.messages
    assert not alice.messages
    gate.set()
    await app.settled()
    assert alice.messages


async def test_a_handler_that_raises_ends_in_an_error_for_its_sender(app: Application) -> None:
    @app.handlers.on("bug")
    async def bug(message: Any, context: Context) -> None:
        raise ZeroDivisionError("secret detail")

    alice = app.connect("alice")
    app.say(alice, "bug")
    await app.settled()
    assert error(alice) == ("internal", "the handler failed")
    assert app.outcomes("internal") == 1
    assert alice.closed_with is None


async def test_a_handler_that_hangs_ends_in_a_timeout(hasty: Application) -> None:
    cancelled: list[bool] = []

    @hasty.handlers.on("hang")
    async def hang(message: Any, context: Context) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(True)

    alice = hasty.connect("alice")
    hasty.say(alice, "hang")
    hasty.say(alice, "unknown", ref=2)
    await hasty.settled()
    assert [message["code"] for message in alice.messages] == ["timeout", "unknown_type"]
    assert cancelled == [True]
    assert hasty.outcomes("timeout") == 1


async def test_a_plain_function_that_hangs_ends_in_a_timeout_too(hasty: Application) -> None:
    answered = threading.Event()

    @hasty.handlers.on("hang")
    def hang(message: Any, context: Context) -> None:
        answered.wait()

    alice = hasty.connect("alice")
    hasty.say(alice, "hang")
    try:
        await hasty.settled()
    finally:
        answered.set()
    assert error(alice)[0] == "timeout"


async def test_a_timeout_of_the_handlers_own_is_not_taken_for_ours(app: Application) -> None:
    """A handler whose database timed out has failed; it did not run for too long."""

    @app.handlers.on("database")
    async def database(message: Any, context: Context) -> None:
        raise TimeoutError("database")

    alice = app.connect("alice")
    app.say(alice, "database")
    await app.settled()
    assert error(alice) == ("internal", "the handler failed")


async def test_a_handler_that_is_cancelled_from_inside_fails_alone(app: Application) -> None:
    """It awaited a task of its own that was cancelled. Later messages are handled."""

    @app.handlers.on("cancelled")
    async def cancelled(message: Any, context: Context) -> None:
        task = asyncio.create_task(asyncio.sleep(10))
        asyncio.get_running_loop().call_soon(task.cancel)
        await task

    alice = app.connect("alice")
    for ref in range(5):
        app.say(alice, "cancelled", ref=ref)
    await asyncio.gather(*app.tasks, return_exceptions=True)
    assert [message["code"] for message in alice.messages] == ["internal"] * 5
    assert alice.is_reading, "the backlog had paused reading"


async def test_what_has_no_json_form_ends_in_an_error(app: Application) -> None:
    @app.handlers.on("nonsense")
    async def nonsense(message: Any, context: Context) -> object:
        return object()

    alice = app.connect("alice")
    app.say(alice, "nonsense")
    await app.settled()
    assert error(alice)[0] == "internal"


async def test_data_that_do_not_fit_are_told_with_the_field(app: Application) -> None:
    @app.handlers.on("number")
    async def number(message: int, context: Context) -> int:
        return message

    alice = app.connect("alice")
    app.say(alice, "number", "seven")
    await app.settled()
    assert error(alice) == ("invalid", "data: Expected `int`, got `str`")
    assert app.outcomes("invalid") == 1


async def test_an_unknown_type_lists_the_known_ones(app: Application) -> None:
    @app.handlers.on("a")
    @app.handlers.on("b")
    async def known(message: Any, context: Context) -> None:
        pass

    alice = app.connect("alice")
    app.say(alice, "c")
    await app.settled()
    assert error(alice) == ("unknown_type", "expected a type out of: a, b")
    assert app.outcomes("unknown_type") == 1


async def test_an_applications_own_refusal_reaches_the_sender_but_no_label(
    app: Application,
) -> None:
    """Only Clarion chooses label values: an application may have any number of codes."""

    @app.handlers.on("buy")
    async def buy(message: Any, context: Context) -> None:
        raise Refusal("out_of_stock", "come back tomorrow")

    alice = app.connect("alice")
    app.say(alice, "buy")
    await app.settled()
    assert error(alice) == ("out_of_stock", "come back tomorrow")
    assert app.outcomes("refused") == 1
    assert app.outcomes("out_of_stock") == 0


async def test_a_propagated_reply_leaves_the_sender_out(app: Application) -> None:
    @app.handlers.on("chat", propagate("all"))
    async def chat(message: str, context: Context) -> str:
        return message.upper()

    alice = app.connect("alice")
    app.say(alice, "chat", "hi")
    await app.settled()
    assert [message["data"] for message in alice.messages] == ["HI"]
    assert app.bus.publications == [Publication(ALL, "chat", b'"HI"', exclude=alice.id)]


async def test_a_handlers_own_event_includes_the_sender(app: Application) -> None:
    @app.handlers.on("announce")
    async def announce(message: Any, context: Context) -> None:
        await context.publish(AUTHENTICATED, "news", message)

    app.say(app.connect("alice"), "announce", [1])
    await app.settled()
    assert app.bus.publications == [Publication(AUTHENTICATED, "news", b"[1]")]


async def test_no_bus_is_told_as_such(app: Application) -> None:
    @app.handlers.on("chat", propagate("all"))
    async def chat(message: str, context: Context) -> str:
        return message

    app.bus.down = True
    alice = app.connect("alice")
    app.say(alice, "chat", "hi")
    await app.settled()
    assert error(alice) == ("unavailable", "the event bus is unavailable, try again")
    assert app.outcomes("unavailable") == 1


async def test_an_interceptor_sees_who_is_there_when_the_message_is_handled(
    app: Application,
) -> None:
    """A message that waited behind a log-out is anonymous."""

    @app.handlers.on("chat", authenticated_only())
    async def chat(message: Any, context: Context) -> None:
        pass

    nobody = app.connect()
    app.say(nobody, "chat")
    await app.settled()
    assert error(nobody) == ("unauthenticated", "expected a logged-in sender")
    assert app.outcomes("unauthenticated") == 1


async def test_a_log_in_waits_for_the_messages_before_it(app: Application) -> None:
    @app.handlers.on("echo")
    async def echo(message: Any, context: Context) -> Any:
        await asyncio.sleep(0)
        return message

    alice = app.connect()
    app.say(alice, "echo", 1)
    app.inboxes.put(alice, Authenticate("token", b"2"))
    app.say(alice, "echo", 3)
    await app.settled()
    assert [message["kind"] for message in alice.messages] == ["reply", "identity", "reply"]
    assert app.identities.asked == [("token", b"2")]


async def test_a_full_backlog_pauses_reading_until_half_of_it_is_done(app: Application) -> None:
    gate = asyncio.Event()
    reading: list[bool] = []

    @app.handlers.on("wait")
    async def wait(message: Any, context: Context) -> None:
        await gate.wait()
        reading.append(alice.is_reading)

    alice = app.connect("alice")
    for _ in range(3):
        app.say(alice, "wait")
        assert alice.is_reading
    app.say(alice, "wait")
    assert not alice.is_reading
    gate.set()
    await app.settled()
    assert reading == [False, False, True, True]
    assert alice not in app.inboxes, "nothing is kept for an idle connection"


async def test_what_is_said_before_welcome_waits_for_it(app: Application) -> None:
    @app.handlers.on("echo")
    async def echo(message: Any, context: Context) -> Any:
        return message

    alice = Recorder("alice")
    app.say(alice, "echo", 1)
    await asyncio.sleep(0)
    assert app.tasks == []
    app.hub.add(alice, catching_up=True)
    app.say(alice, "echo", 2)
    await asyncio.sleep(0)
    assert app.tasks == [], "who catches up has not been welcomed yet"
    app.hub.go_live(alice)
    app.inboxes.start(alice)
    await app.settled()
    assert [message["data"] for message in alice.messages] == [1, 2]


async def test_messages_of_a_connection_that_is_gone_are_dropped(app: Application) -> None:
    ran: list[int] = []

    @app.handlers.on("wait")
    async def wait(message: int, context: Context) -> None:
        ran.append(message)
        app.hub.remove(alice)

    alice = app.connect("alice")
    for number in range(3):
        app.say(alice, "wait", number)
    await app.settled()
    assert ran == [0]
    assert alice.state is State.CLOSED
    assert app.inboxes.running == 0


async def test_a_bug_of_our_own_closes_that_connection_alone(app: Application) -> None:
    """The pod's task group must go on, or every socket would end."""

    async def broken(connection: Connection, token: str | None, ref: bytes) -> None:
        raise ZeroDivisionError

    app.identities.authenticate = broken  # type: ignore[method-assign]
    alice, bob = app.connect("alice"), app.connect("bob")
    app.inboxes.put(alice, Authenticate("token", b"null"))
    app.inboxes.put(bob, Message("unknown", b"null", b"null"))
    await app.settled()
    assert alice.closed_with is not None
    assert alice.closed_with.label == "internal_error"
    assert bob.closed_with is None
    assert bob.messages
    assert app.inboxes.running == 0


async def test_subscriptions_are_answered_in_their_place_among_the_messages(
    app: Application,
) -> None:
    gate = asyncio.Event()

    @app.handlers.on("wait")
    async def wait(message: Any, context: Context) -> None:
        await gate.wait()

    alice = app.connect("alice")
    app.say(alice, "wait", ref=1)
    app.inboxes.put(alice, Subscribe(("a",), b"2"))
    app.inboxes.put(alice, Unsubscribe(("a",), b"3"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert app.memberships.asked == []
    gate.set()
    await app.settled()
    assert [(message["kind"], message["ref"]) for message in alice.messages] == [
        ("reply", 1),
        ("subscribed", 2),
        ("unsubscribed", 3),
    ]


async def test_a_connections_data_are_there_for_all_its_messages_and_for_no_others(
    app: Application,
) -> None:
    @app.handlers.on("count")
    async def count(message: Any, context: Context) -> int:
        context.data["count"] = context.data.get("count", 0) + 1
        return int(context.data["count"])

    alice, bob, idle = app.connect("alice"), app.connect("bob"), app.connect()
    app.say(alice, "count")
    app.say(alice, "count")
    app.say(bob, "count")
    await app.settled()
    assert [message["data"] for message in alice.messages] == [1, 2]
    assert [message["data"] for message in bob.messages] == [1]
    assert idle.data is None


async def test_an_answer_passes_the_messages_before_it(app: Application) -> None:
    @app.handlers.on("order")
    async def order(message: Any, context: Context) -> Any:
        return await context.ask("sure", message, timeout=60)

    alice = app.connect("alice")
    app.say(alice, "order", {"tea": 1}, ref="a")
    for number in range(10):  # more than may wait
        app.say(alice, "nothing", ref=number)
    while not alice.messages:
        await asyncio.sleep(0)
    assert alice.is_reading, "the answer would never come"
    (question,) = alice.messages
    assert question == {"kind": "ask", "ref": 1, "type": "sure", "data": {"tea": 1}}
    app.inboxes.answered(alice, Answer(b"1", b'"yes"'))
    await app.settled()
    assert alice.messages[1] == {"kind": "reply", "ref": "a", "data": "yes"}
    assert len(alice.messages) == 12


async def test_reading_pauses_again_when_no_question_waits_any_more(app: Application) -> None:
    gate = asyncio.Event()

    @app.handlers.on("order")
    async def order(message: Any, context: Context) -> None:
        await context.ask("sure", None, timeout=60)
        await gate.wait()

    alice = app.connect("alice")
    for number in range(10):
        app.say(alice, "order", ref=number)
    assert not alice.is_reading
    while not alice.messages:
        await asyncio.sleep(0)
    assert alice.is_reading
    app.inboxes.answered(alice, Answer(b"1", b"null"))
    while alice.is_reading:
        await asyncio.sleep(0)
    app.inboxes.ended(alice)
    gate.set()


async def test_an_unanswered_question_is_a_refusal_to_the_sender(app: Application) -> None:
    @app.handlers.on("order")
    async def order(message: Any, context: Context) -> Any:
        return await context.ask("sure", None, timeout=0.01)

    alice = app.connect("alice")
    app.say(alice, "order")
    await app.settled()
    assert alice.messages[1]["code"] == "ask_timeout"
    assert app.outcomes("refused") == 1
