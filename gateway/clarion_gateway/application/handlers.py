"""The application's side of a gateway: handlers for its clients' messages.

An application names its `Handlers` in ``GATEWAY_HANDLERS=package.module:handlers``:

    from clarion import Context, Handlers, propagate

    handlers = Handlers()

    @handlers.on("chat.message", propagate(to="all"))
    async def chat_message(message: ChatMessage, context: Context) -> ChatReply: ...

A handler may be async or a plain function, which runs in a thread. The annotation of its first
parameter decides what it gets: a pydantic model, anything else that msgspec can decode, or `bytes`
for the JSON as it came. Its return value is encoded once. Those bytes go to the sender, and to the
audience that an interceptor propagates them to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, overload

from clarion_contract.events.event import check_type
from clarion_contract.events.topic import check_pattern, check_topic
from clarion_gateway.application.answering import Interceptor, Route
from clarion_gateway.application.codec import decoder_of, signature_of
from clarion_gateway.application.hooks import (
    ConnectHook,
    DisconnectHook,
    Hook,
    SubscribeHook,
    check_hook,
    header_names,
)
from clarion_gateway.application.scope import Inside, LifespanFunction, Scope, lifespan_of
from clarion_gateway.application.threads import Threads

Handler = TypeVar("Handler", bound=Callable[..., Any])
OfLifespan = TypeVar("OfLifespan", bound=LifespanFunction)


class Handlers:
    """The handlers of an application, by message type.

    Args:
        interceptors: around every handler, the outermost first; also around those of included
            `Handlers`.
        threads: how many plain functions may run at once. `GATEWAY_HANDLER_THREADS` overrides it.
    """

    def __init__(self, *, interceptors: Sequence[Interceptor] = (), threads: int = 40) -> None:
        self._namespaces: dict[str, Handlers] = {}
        self._interceptors = tuple(interceptors)
        self._routes: dict[str, Route] = {}
        self._connects: list[ConnectHook] = []
        self._disconnects: list[DisconnectHook] = []
        self._subscribes: list[SubscribeHook] = []
        self._threads = Threads(threads)
        self._scope = Scope()
        self._included: list[Handlers] = []
        self._including: list[tuple[Handlers, str]] = []
        self._otherwise: Callable[[str], Route | None] | None = None

    def on(self, type_: str, *interceptors: Interceptor) -> Callable[[Handler], Handler]:
        """Register the decorated function for messages of a type.

        Args:
            type_: of the messages, such as ``chat.message``.
            interceptors: around the handler, the outermost first.

        Raises:
            ValueError: the type has a handler already, or is not a valid type.
        """

        def register(handler: Handler) -> Handler:
            call = self._threads.awaitable(handler)
            signature = signature_of(handler)
            self._add(type_, Route(call, decoder_of(handler), interceptors, self._scope, signature))
            return handler

        return register

    def include(self, other: Handlers, *, prefix: str = "") -> None:
        """Take in all handlers of another object, also those that it registers later.

            handlers.include(rooms.handlers, prefix="room.")

        Its lifespan begins and ends with this one's. Its handlers' ``context.state`` is the value
        of its own lifespan if it has one, or else of this one's.

        Args:
            prefix: put before each of its types: ``join`` becomes ``room.join``. Those of its
                namespaces keep theirs.

        Raises:
            ValueError: both have a handler for a type, or ``other`` includes these handlers.
        """
        if self in other._family():
            raise ValueError("expected other handlers to include, got handlers that include these")
        for type_, route in other._routes.items():
            self._include(prefix + type_, route)
        for name, each in other._namespaces.items():
            self.namespace(name).include(each)
        other._including.append((self, prefix))
        self._included.append(other)
        for each in other._family():
            each._threads.slots = self._threads.slots  # noqa: SLF001 - of this class

    def namespace(self, name: str) -> Handlers:
        """The handlers of a namespace of Socket.IO, made at the first call.

            admin = handlers.namespace("/admin")

            @admin.on_connect
            async def check(context: ConnectContext) -> None:
                if "admin" not in context.claims.get("roles", []):
                    raise Refusal("no_admin", "expected an admin")

            @admin.on("user.close")
            async def close(user: str, context: Context) -> None: ...

        Its clients are connections of their own (``io("/admin")``), with an id and a token of
        their own. They receive the topic of the namespace's name, here ``/admin``, and the topics
        that they ask for there, but no events of other audiences. Only these handlers and hooks
        concern them. The interceptors of these `Handlers` stand around those of the namespace, and
        ``context.state`` is the same unless the namespace has a lifespan of its own.

        Args:
            name: begins with a slash, and is a topic's name.

        Raises:
            ValueError: the name is none.
        """
        known = self._namespaces.get(name)
        if known is not None:
            return known
        made = self._namespaces[_checked(name)] = Handlers(interceptors=self._interceptors)
        made._scope = Scope(self._scope)
        made._threads.slots = self._threads.slots
        for including, _ in self._including:
            including.namespace(name).include(made)
        return made

    def lifespan(self, function: OfLifespan) -> OfLifespan:
        """Register what the handlers need for as long as the gateway runs.

            @handlers.lifespan
            async def database() -> AsyncIterator[Pool]:
                async with create_pool(...) as pool:
                    yield pool

        It is entered once per gateway process, before the gateway takes clients, and left after
        the drain. The value is every handler's ``context.state``.

        Args:
            function: an async generator function with one ``yield``, or a function that returns an
                async context manager. It takes no arguments.

        Raises:
            ValueError: there is a lifespan already, or the function is something else.
        """
        if self._scope.lifespan is not None:
            raise ValueError(f"expected one lifespan, got a second: {function!r}")
        self._scope.lifespan = lifespan_of(function)
        return function

    @overload
    def on_connect(self, function: Handler) -> Handler: ...
    @overload
    def on_connect(self, *, headers: Iterable[str]) -> Callable[[Handler], Handler]: ...
    def on_connect(
        self, function: Handler | None = None, *, headers: Iterable[str] = ()
    ) -> Handler | Callable[[Handler], Handler]:
        """Register a function that runs for each client before it is welcomed.

            @handlers.on_connect(headers=["x-tenant"])
            async def connected(context: ConnectContext) -> None:
                if context.claims.get("plan") != "pro":
                    raise Refusal("no_plan", "expected the plan pro")

        If it raises `Refusal`, the client gets no connection. Several such functions run in the
        order in which they were registered.

        Args:
            headers: names of the client's headers that the function sees; it sees no others.

        Raises:
            ValueError: the function does not take one argument.
        """
        names = header_names(headers)

        def register(function: Handler) -> Handler:
            check_hook(function)
            self._connects.append(Hook(self._threads.awaitable(function), self._scope, names))
            return function

        return register if function is None else register(function)

    def on_subscribe(self, pattern: str) -> Callable[[Handler], Handler]:
        """Register a function that decides about topics which clients' tokens do not grant.

            @handlers.on_subscribe("room.*")
            async def enter(context: SubscribeContext) -> bool:
                return await context.state.is_member(context.user, context.topic)

        It runs for each topic that a client asks for, by ``subscribe`` or in its query. If it
        returns True or None, the client receives the topic. If it returns False, the topic stands
        in ``forbidden``. If it raises `Refusal`, the client gets the code and the text. Of several
        functions, the first whose pattern covers the topic decides.

        Args:
            pattern: of topics, such as ``order.*`` or ``room.**``; a name is one too.

        Raises:
            ValueError: the pattern is none, or the function does not take one argument.
        """
        check_pattern(pattern)

        def register(function: Handler) -> Handler:
            check_hook(function)
            call = self._threads.awaitable(function)
            self._subscribes.append(Hook(call, self._scope, pattern=pattern))
            return function

        return register

    def on_disconnect(self, function: Handler) -> Handler:
        """Register a function that runs for each connection that has ended.

            @handlers.on_disconnect
            async def gone(context: DisconnectContext) -> None:
                await context.state.leave(context.user, context.reason)

        It runs once for each client that all functions of `on_connect` let in, whatever ended its
        connection, and also while the gateway drains.

        Raises:
            ValueError: the function does not take one argument.
        """
        check_hook(function)
        self._disconnects.append(Hook(self._threads.awaitable(function), self._scope))
        return function

    def find(self, type_: str) -> Route | None:
        """The route of a message type; None: no handler has it."""
        route = self._routes.get(type_)
        if route is None and self._otherwise is not None:
            return self._otherwise(type_)
        return route

    def fall_back(self, find: Callable[[str], Route | None] | None) -> None:
        """Look for the route of a type without a handler elsewhere; None: nowhere."""
        self._otherwise = find

    @property
    def namespaces(self) -> Mapping[str, Handlers]:
        """The handlers of each `namespace`, by its name."""
        return self._namespaces

    @property
    def types(self) -> Sequence[str]:
        """The message types that have a handler."""
        return tuple(self._routes)

    @property
    def connects(self) -> Sequence[ConnectHook]:
        """The functions for a client that connects: these handlers' own, then those included."""
        included = [hook for each in self._included for hook in each.connects]
        return (*self._connects, *(hook.within(self._around(hook)) for hook in included))

    @property
    def disconnects(self) -> Sequence[DisconnectHook]:
        """The functions that run when a connection has ended, in the order of `connects`."""
        included = [hook for each in self._included for hook in each.disconnects]
        return (*self._disconnects, *(hook.within(self._around(hook)) for hook in included))

    @property
    def subscribes(self) -> Sequence[SubscribeHook]:
        """The functions that decide about topics, in the order of `connects`."""
        included = [hook for each in self._included for hook in each.subscribes]
        return (*self._subscribes, *(hook.within(self._around(hook)) for hook in included))

    @property
    def scopes(self) -> Sequence[Scope]:
        """The scopes of these handlers, of all that they include and of namespaces, each once."""
        return tuple(each._scope for each in self._family())  # noqa: SLF001 - of this class

    def limit_threads(self, threads: int) -> None:
        """Set how many plain functions may run at once."""
        slots = Threads(threads).slots
        for each in self._family():
            each._threads.slots = slots  # noqa: SLF001 - of this class

    def _family(self) -> dict[Handlers, None]:
        """These handlers, all that they include, and those of namespaces, each once."""
        family: dict[Handlers, None] = {self: None}
        for each in (*self._included, *self._namespaces.values()):
            family |= each._family()  # noqa: SLF001 - of this class
        return family

    def _add(self, type_: str, route: Route) -> None:
        check_type(type_)
        if type_ in self._routes:
            raise ValueError(f"expected one handler for {type_!r}, got a second: {route.call!r}")
        route = replace(route, interceptors=(*self._interceptors, *route.interceptors))
        for including, prefix in self._including:
            including._include(prefix + type_, route)  # noqa: SLF001 - of this class
        self._routes[type_] = route

    def _include(self, type_: str, route: Route) -> None:
        self._add(type_, replace(route, scope=self._around(route)))

    def _around(self, included: Route | ConnectHook | DisconnectHook | SubscribeHook) -> Inside:
        return Inside(included.scope, self._scope)


def _checked(namespace: str) -> str:
    if namespace[:1] != "/" or namespace == "/":
        raise ValueError(f"expected a namespace such as '/admin', got {namespace!r}")
    return check_topic(namespace)
