"""`clarion_gateway.clients.hooks`: an application's functions for clients that come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, cast

import msgspec
import pytest

from clarion_contract.events.errors import BusUnavailable
from clarion_contract.identity.claims import Claims
from clarion_gateway.application.context import ConnectContext, DisconnectContext, Host
from clarion_gateway.application.handlers import Handlers
from clarion_gateway.application.refusal import Refusal
from clarion_gateway.clients.hooks import ConnectionHooks, Said
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.close_codes import Close, Refused
from clarion_gateway.connections.connection import State
from clarion_gateway.connections.identity import Identity
from tests.gateway.recorder import Recorder, metrics, sample, settings

HEADERS = [("x-tenant", "shop"), ("cookie", "secret"), ("x-tenant", "other")]
SAID = Said("page=home&page=x&token=t&empty=", HEADERS, {"device": msgspec.Raw(b'{"id":7}')})


class Application:
    """The hooks of one application; the test decides when their tasks run."""

    def __init__(self) -> None:
        self.handlers = Handlers()
        self.metrics = metrics()
        self.jobs: list[Coroutine[Any, Any, None]] = []
        self.gone: list[tuple[str | None, str]] = []

    def mount(self, **overrides: Any) -> ConnectionHooks:
        return ConnectionHooks(
            self.handlers,
            cast("Host", None),
            self.metrics,
            lambda _, job: self.jobs.append(job),
            settings(**overrides),
        )

    def note_who_goes(self) -> None:
        @self.handlers.on_disconnect
        async def note(context: DisconnectContext) -> None:
            self.gone.append((context.user, context.reason))

    async def run(self) -> None:
        while self.jobs:
            await self.jobs.pop(0)

    def count(self, hook: str, outcome: str) -> float:
        return sample(self.metrics, "clarion_hooks_total", hook=hook, outcome=outcome)


@pytest.fixture
def app() -> Application:
    return Application()


async def connect(
    hooks: ConnectionHooks, connection: Recorder | None = None, user: str | None = "alice"
) -> Recorder:
    connection = connection or Recorder()
    claims = Claims(user, frozenset(), 0, payload=b'{"sub":"alice","plan":"pro"}') if user else None
    await hooks.connect(connection, user, claims, SAID)
    return connection


def end(hooks: ConnectionHooks, connection: Recorder, close: Close = close_codes.NORMAL) -> None:
    """As sessions do."""
    hooks.ended(connection, close)
    connection.state = State.CLOSED


async def test_a_function_sees_claims_query_and_the_headers_that_it_asked_for(
    app: Application,
) -> None:
    seen: list[ConnectContext] = []

    @app.handlers.on_connect(headers=["X-Tenant"])
    async def asking(context: ConnectContext) -> None:
        seen.append(context)

    @app.handlers.on_connect
    def asking_for_none(context: ConnectContext) -> None:
        seen.append(context)

    hooks = app.mount()
    connection = await connect(hooks)
    await connect(hooks, user=None)
    first, second, anonymous, _ = seen
    assert (first.connection, first.user, first.pod) == (connection.id, "alice", "pod-test")
    assert first.claims == {"sub": "alice", "plan": "pro"}
    assert first.query == {"page": "home", "empty": ""}
    assert first.auth == {"device": {"id": 7}}
    assert first.headers == {"x-tenant": "shop"}
    assert second.headers == {}
    assert (anonymous.user, anonymous.claims) == (None, {})
    assert app.count("connect", "done") == 4


@pytest.mark.parametrize(
    ("code", "close"),
    [
        ("no_plan", (4403, "refused", False)),
        ("unauthenticated", (4401, "unauthenticated", False)),
        ("unavailable", (1013, "unavailable", True)),
        ("rate_limited", (4429, "rate_limited", True)),
        ("too_many_connections", (4429, "too_many_connections", True)),
    ],
)
async def test_a_refusal_is_a_close_with_its_code_and_its_text(
    app: Application, code: str, close: tuple[int, str, bool]
) -> None:
    ran: list[str] = []

    @app.handlers.on_connect
    async def refuses(context: ConnectContext) -> None:
        raise Refusal(code, "not you " + "ü" * 100)

    @app.handlers.on_connect
    async def later(context: ConnectContext) -> None:
        ran.append("later")

    app.note_who_goes()
    hooks = app.mount()
    connection = Recorder()
    with pytest.raises(Refused) as refused:
        await connect(hooks, connection)
    row = refused.value.close
    assert (row.code, row.label, row.reconnect) == close
    assert row.reason.startswith(f"{code}: not you ü")
    assert len(row.reason.encode()) <= 123
    end(hooks, connection, row)
    await app.run()
    assert (ran, app.gone) == ([], []), "nothing else runs for a client that was refused"
    assert app.count("connect", "refused") == 1


async def hangs(context: object) -> None:
    await asyncio.Event().wait()


async def fails(context: object) -> None:
    raise ZeroDivisionError


async def cancels_itself(context: object) -> None:
    raise asyncio.CancelledError


async def times_out_itself(context: object) -> None:
    raise TimeoutError


@pytest.mark.parametrize(
    ("function", "outcome", "label"),
    [
        (hangs, "timeout", "unavailable"),
        (fails, "internal", "internal_error"),
        (cancels_itself, "internal", "internal_error"),
        (times_out_itself, "internal", "internal_error"),
    ],
)
async def test_a_function_that_fails_refuses_the_client(
    app: Application, function: Any, outcome: str, label: str
) -> None:
    app.handlers.on_connect(function)
    hooks = app.mount(handler_seconds=0.05 if outcome == "timeout" else 10)
    with pytest.raises(Refused) as refused:
        await connect(hooks)
    assert refused.value.close.label == label
    assert refused.value.close.reconnect
    assert app.count("connect", outcome) == 1


async def test_a_client_that_redis_was_needed_for_comes_back_later(app: Application) -> None:
    @app.handlers.on_connect
    async def publishes(context: ConnectContext) -> None:
        raise BusUnavailable("down")

    with pytest.raises(BusUnavailable):
        await connect(app.mount())
    assert app.count("connect", "unavailable") == 1


@pytest.mark.parametrize(
    "close", [close_codes.NORMAL, close_codes.DRAINING, close_codes.SLOW_CONSUMER]
)
async def test_an_end_is_told_once_with_its_reason(app: Application, close: Close) -> None:
    app.note_who_goes()
    hooks = app.mount()
    connection = await connect(hooks)
    connection.state, connection.identity = State.LIVE, Identity("bob")  # logged in since
    end(hooks, connection, close)
    end(hooks, connection, close)
    await app.run()
    assert app.gone == [("bob", close.label)]
    assert hooks.unfinished == 0
    assert app.count("disconnect", "done") == 1


async def test_a_connection_that_was_never_welcomed_ends_as_the_user_who_asked(
    app: Application,
) -> None:
    app.note_who_goes()
    hooks = app.mount()
    end(hooks, await connect(hooks), close_codes.ABNORMAL)
    await app.run()
    assert app.gone == [("alice", "abnormal")]


async def test_a_client_that_leaves_while_it_is_asked_about_has_gone_too(app: Application) -> None:
    asked, answered = asyncio.Event(), asyncio.Event()

    @app.handlers.on_connect
    async def slow(context: ConnectContext) -> None:
        asked.set()
        await answered.wait()

    app.note_who_goes()
    hooks = app.mount()
    connection = Recorder()
    connecting = asyncio.create_task(connect(hooks, connection))
    await asked.wait()
    end(hooks, connection, close_codes.ABNORMAL)
    assert hooks.unfinished == 0, "first the function for connecting clients ends"
    answered.set()
    await connecting
    await app.run()
    assert app.gone == [("alice", "abnormal")]


async def test_a_client_that_has_gone_already_is_not_asked_about(app: Application) -> None:
    app.note_who_goes()
    asked = []

    @app.handlers.on_connect
    async def ask(context: ConnectContext) -> None:
        asked.append(context)

    hooks = app.mount()
    connection = Recorder()
    end(hooks, connection)
    await connect(hooks, connection)
    assert asked == []
    assert hooks._let_in == {}


async def test_data_of_the_connection_are_there_until_the_end(app: Application) -> None:
    seen: list[Any] = []

    @app.handlers.on_connect
    async def begins(context: ConnectContext) -> None:
        context.data["room"] = 7

    @app.handlers.on_disconnect
    async def ends(context: DisconnectContext) -> None:
        seen.append(context.data)

    hooks = app.mount()
    end(hooks, await connect(hooks))
    await app.run()
    assert seen == [{"room": 7}]


async def test_a_limited_number_runs_at_once_and_the_others_wait(app: Application) -> None:
    running = most = 0
    gate = asyncio.Event()

    @app.handlers.on_disconnect
    async def slow(context: DisconnectContext) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait()
        running -= 1

    hooks = app.mount(disconnects_at_once=2)
    for _ in range(5):
        end(hooks, await connect(hooks))
    assert len(app.jobs) == 2
    tasks = [asyncio.create_task(job) for job in app.jobs]
    await asyncio.sleep(0)
    assert hooks.unfinished == 5
    gate.set()
    await asyncio.gather(*tasks)
    assert (most, hooks.unfinished) == (2, 0)
    assert app.count("disconnect", "done") == 5


@pytest.mark.parametrize(
    ("function", "outcome"), [(hangs, "timeout"), (fails, "internal"), (cancels_itself, "internal")]
)
async def test_a_failure_keeps_no_other_function_from_running(
    app: Application, function: Any, outcome: str
) -> None:
    app.handlers.on_disconnect(function)
    app.note_who_goes()
    hooks = app.mount(handler_seconds=0.05 if outcome == "timeout" else 10)
    end(hooks, await connect(hooks))
    await app.run()
    assert app.gone == [("alice", "normal")]
    assert app.count("disconnect", outcome) == 1


async def test_nothing_is_kept_for_connections_whose_end_nobody_hears(app: Application) -> None:
    @app.handlers.on_connect
    async def lets_in(context: ConnectContext) -> None: ...

    hooks = app.mount()
    end(hooks, await connect(hooks))
    assert (app.jobs, hooks._let_in, hooks._asking) == ([], {}, {})


def test_functions_take_one_context() -> None:
    handlers = Handlers()
    for register in (handlers.on_connect, handlers.on_disconnect):
        with pytest.raises(ValueError, match=r"expected a function of \(context\), got"):
            register(lambda message, context: None)
    with pytest.raises(TypeError, match=r"such as \['x-tenant'\]"):
        handlers.on_connect(headers="x-tenant")


async def test_functions_of_included_handlers_come_last_in_their_own_scope() -> None:
    inner, outer = Handlers(), Handlers()
    states: list[Any] = []

    async def note(context: ConnectContext) -> None:
        states.append(context.state)

    @inner.lifespan
    async def own() -> Any:
        yield

    outer.include(inner)
    inner.on_connect(note)
    outer.on_connect(note)
    outer.scopes[0].value, inner.scopes[0].value = "outer", "inner"
    hooks = ConnectionHooks(outer, cast("Host", None), metrics(), lambda *_: None, settings())
    await hooks.connect(Recorder(), None, None, Said("", (), {}))
    assert states == ["outer", "inner"]
