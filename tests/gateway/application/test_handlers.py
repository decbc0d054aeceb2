"""`clarion_gateway.application.handlers`: which handler has which type."""

from __future__ import annotations

from typing import Any

import pytest

from clarion_contract.events.event import InvalidType
from clarion_contract.events.topic import InvalidTopic
from clarion_gateway.application.answering import Interceptor, Proceed, answer
from clarion_gateway.application.context import Context, SubscribeContext
from clarion_gateway.application.handlers import Handlers
from tests.gateway.application.host import context


async def echo(message: Any, context: Context) -> Any:
    return message


async def state(message: Any, context: Context) -> Any:
    return context.state


async def ask(handlers: Handlers, type_: str, data: bytes = b"null") -> bytes:
    route = handlers.find(type_)
    assert route is not None
    return (await answer(route, data, context(scope=route.scope))).data


def noting(name: str, notes: list[str]) -> Interceptor:
    async def interceptor(context: Context, proceed: Proceed) -> None:
        notes.append(name)
        await proceed()

    return interceptor


def test_a_type_has_one_handler() -> None:
    handlers = Handlers()
    handlers.on("a")(echo)
    with pytest.raises(ValueError, match=r"expected one handler for 'a', got a second: .*state"):
        handlers.on("a")(state)
    assert handlers.types == ("a",)
    assert handlers.find("b") is None


def test_a_type_is_one_that_events_may_have() -> None:
    with pytest.raises(InvalidType):
        Handlers().on("two words")(echo)


def test_the_decorated_function_stays_what_it_was() -> None:
    """The application can test it alone."""
    assert Handlers().on("a")(echo) is echo


async def test_interceptors_for_all_types_stand_around_those_of_one() -> None:
    notes: list[str] = []
    handlers = Handlers(interceptors=(noting("first", notes), noting("second", notes)))
    handlers.on("a", noting("own", notes))(echo)
    handlers.on("b")(echo)

    assert await ask(handlers, "a", b"1") == b"1"
    assert notes == ["first", "second", "own"]
    await ask(handlers, "b")
    assert notes[3:] == ["first", "second"]


async def test_included_handlers_answer_under_their_prefix() -> None:
    notes: list[str] = []
    rooms = Handlers(interceptors=(noting("rooms", notes),))
    rooms.on("join", noting("own", notes))(echo)
    handlers = Handlers(interceptors=(noting("all", notes),))
    handlers.include(rooms, prefix="room.")
    rooms.on("leave")(echo)  # later than the inclusion

    assert handlers.types == ("room.join", "room.leave")
    assert await ask(handlers, "room.join", b"7") == b"7"
    assert notes == ["all", "rooms", "own"]
    assert rooms.types == ("join", "leave")


def test_an_inclusion_that_doubles_a_type_is_refused() -> None:
    rooms, handlers = Handlers(), Handlers()
    handlers.on("a")(echo)
    handlers.include(rooms)
    with pytest.raises(ValueError, match="expected one handler for 'a'"):
        rooms.on("a")(echo)
    other = Handlers()
    other.on("a")(echo)
    with pytest.raises(ValueError, match="expected one handler for 'a'"):
        handlers.include(other)


def test_a_prefix_that_makes_an_invalid_type_is_refused() -> None:
    rooms = Handlers()
    rooms.on("join")(echo)
    with pytest.raises(InvalidType):
        Handlers().include(rooms, prefix="my room.")


def test_handlers_cannot_include_themselves() -> None:
    inner, outer = Handlers(), Handlers()
    outer.include(inner)
    for circle in (inner, outer):
        with pytest.raises(ValueError, match="expected other handlers to include"):
            inner.include(circle)


def test_handlers_may_be_included_in_several_places() -> None:
    """As by a factory that each test calls."""
    rooms = Handlers()
    rooms.on("join")(echo)
    for prefix in ("a.", "b."):
        handlers = Handlers()
        handlers.include(rooms, prefix=prefix)
        assert handlers.types == (f"{prefix}join",)


async def test_included_handlers_see_their_own_lifespans_value_or_else_the_outer_one() -> None:
    owning, sharing, handlers = Handlers(), Handlers(), Handlers()
    for each, name in ((owning, "owning"), (sharing, "sharing"), (handlers, "outer")):
        each.on(name)(state)
    handlers.include(owning)
    handlers.include(sharing)

    @handlers.lifespan
    async def outer() -> Any:
        yield 1

    @owning.lifespan
    async def own() -> Any:
        yield 2

    for scope, value in zip(handlers.scopes, (1, 2, None), strict=True):
        scope.value = value
    assert [await ask(handlers, name) for name in ("outer", "sharing", "owning")] == [
        b"1", b"1", b"2",
    ]  # fmt: skip


def test_there_is_one_lifespan() -> None:
    handlers = Handlers()

    @handlers.lifespan
    async def first() -> Any:
        yield

    with pytest.raises(ValueError, match=r"expected one lifespan, got a second: .*first"):
        handlers.lifespan(first)


async def test_included_plain_functions_share_the_threads() -> None:
    inner, middle, outer = Handlers(), Handlers(), Handlers()
    middle.include(inner)
    outer.include(middle)
    outer.limit_threads(3)

    threads = {id(each._threads.slots) for each in (inner, middle, outer)}
    assert len(threads) == 1


def test_functions_decide_about_topics_in_the_order_of_registration() -> None:
    handlers, inner = Handlers(), Handlers()

    @inner.on_subscribe("inner.*")
    async def inside(context: SubscribeContext) -> bool:
        return True

    handlers.include(inner, prefix="x.")

    @handlers.on_subscribe("outer.**")
    def outside(context: SubscribeContext) -> bool:
        return True

    assert [hook.pattern for hook in handlers.subscribes] == ["outer.**", "inner.*"]


def test_what_cannot_decide_about_topics_is_refused() -> None:
    handlers = Handlers()
    with pytest.raises(InvalidTopic):
        handlers.on_subscribe("room.*x")
    with pytest.raises(ValueError, match="expected a function of \\(context\\)"):
        handlers.on_subscribe("room.*")(lambda: True)
    assert handlers.subscribes == ()


async def test_a_namespace_has_handlers_of_its_own() -> None:
    notes: list[str] = []
    handlers = Handlers(interceptors=(noting("all", notes),))
    admin = handlers.namespace("/admin")
    assert handlers.namespace("/admin") is admin
    handlers.on("a")(echo)
    admin.on("a", noting("own", notes))(state)
    handlers._scope.value = "outer"
    assert await ask(handlers, "a", b"1") == b"1"
    assert await ask(admin, "a") == b'"outer"'
    assert notes == ["all", "all", "own"]
    assert dict(handlers.namespaces) == {"/admin": admin}
    assert admin._scope in handlers.scopes, "its lifespan is entered, too"


async def test_namespaces_of_included_handlers_are_those_of_the_outer_ones() -> None:
    inner, outer = Handlers(), Handlers()
    inner.namespace("/before").on("a")(echo)
    outer.include(inner, prefix="b.")
    inner.namespace("/after").on("a")(echo)
    inner.namespace("/before").on("b")(echo)
    for name, types in (("/before", ("a", "b")), ("/after", ("a",))):
        assert outer.namespaces[name].types == types


@pytest.mark.parametrize("name", ["", "/", "admin", "/two words", "/a,b", "/" + "a" * 128])
def test_a_namespace_begins_with_a_slash_and_is_a_topics_name(name: str) -> None:
    with pytest.raises(ValueError, match="expected a"):
        Handlers().namespace(name)
