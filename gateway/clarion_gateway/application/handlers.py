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

import asyncio
import functools
import inspect
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, get_type_hints

import anyio
import msgspec
from anyio import to_thread
from pydantic import BaseModel, ValidationError

from clarion_contract.events.audience import Audience
from clarion_contract.events.event import Published, check_type


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"expected a value with a JSON form, got {type(value).__name__}")


_json = msgspec.json.Encoder(enc_hook=_plain)

Handler = TypeVar("Handler", bound=Callable[..., Any])


class Refusal(Exception):
    """Raise it in a handler or an interceptor to refuse a message.

        raise Refusal("closed", "the room is closed")

    Args:
        code: for the client's program.
        message: for people. The sender gets both in an ``error``.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Reply:
    """The return value of a handler, encoded. It cannot be changed.

    Attributes:
        type: of the message that the reply answers.
        data: JSON in UTF-8.
    """

    type: str
    data: bytes


class Publish(Protocol):
    """Publishes an event to an audience on all gateway pods, through the bus."""

    async def __call__(
        self, audience: Audience, type_: str, data: bytes, *, exclude: str | None = None
    ) -> Published:
        """Publish an event.

        Args:
            data: JSON in UTF-8.
            exclude: id of a connection that must not get the event.

        Raises:
            BusUnavailable: Redis does not answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """The sender of a message, and ways to publish events.

    Attributes:
        connection: id of the sender's connection.
        user: the sender; None if it is anonymous.
        pod: name of the gateway pod.
        type: of the message.
    """

    connection: str
    user: str | None
    pod: str
    type: str
    _publish: Publish

    async def publish(self, audience: Audience, type_: str, data: object) -> Published:
        """Publish an event to everyone in an audience, the sender included.

            await context.publish(user("anna"), "mail.new", {"from": context.user})

        Args:
            audience: `clarion.ALL`, `clarion.AUTHENTICATED` or ``clarion.user(...)``.
            type_: of the event.
            data: anything with a JSON form: plain values, dataclasses, structs, pydantic models.

        Returns:
            The id and the time of the event.

        Raises:
            InvalidType: ``type_`` cannot be an event's type.
            BusUnavailable: Redis does not answer; the sender gets ``unavailable``.
        """
        return await self._publish(audience, check_type(type_), encode(data))

    async def propagate(self, audience: Audience, reply: Reply) -> Published:
        """Publish a reply unchanged to everyone in an audience except the sender's connection.

        Raises:
            BusUnavailable: Redis does not answer.
        """
        return await self._publish(audience, reply.type, reply.data, exclude=self.connection)


Proceed = Callable[[], Awaitable[Reply]]


class Interceptor(Protocol):
    """Wraps a handler. It sees the reply but cannot change it.

    Before it calls ``proceed``, it may refuse the message by raising `Refusal`. Afterwards it may
    act on the reply.

        async def members_only(context: Context, proceed: Proceed) -> None:
            if context.user not in members:
                raise Refusal("not_a_member", "expected a member of the room")
            await proceed()
    """

    async def __call__(self, context: Context, proceed: Proceed) -> None:
        """Await ``proceed()`` once: it runs the next interceptor or the handler."""
        ...


@dataclass(frozen=True, slots=True)
class Route:
    """A handler, the decoder of its messages, and the interceptors around it."""

    call: Callable[[Any, Context], Awaitable[Any]]
    decode: Callable[[bytes], Any]
    interceptors: Sequence[Interceptor]


class Handlers:
    """The handlers of an application, by message type.

    Args:
        threads: how many plain functions may run at once. `GATEWAY_HANDLER_THREADS` overrides it.
    """

    def __init__(self, *, threads: int = 40) -> None:
        self._routes: dict[str, Route] = {}
        self._slots = asyncio.Semaphore(threads)

    def on(self, type_: str, *interceptors: Interceptor) -> Callable[[Handler], Handler]:
        """Register the decorated function for messages of a type.

        Args:
            type_: of the messages, such as ``chat.message``.
            interceptors: around the handler, the outermost first.

        Raises:
            ValueError: the type has a handler already, or is not a valid type.
        """

        def register(handler: Handler) -> Handler:
            check_type(type_)
            if type_ in self._routes:
                raise ValueError(f"expected one handler for {type_!r}, got a second: {handler!r}")
            self._routes[type_] = Route(self._async(handler), _decoder(handler), interceptors)
            return handler

        return register

    def find(self, type_: str) -> Route | None:
        """The route of a message type; None: no handler has it."""
        return self._routes.get(type_)

    @property
    def types(self) -> Sequence[str]:
        """The message types that have a handler."""
        return tuple(self._routes)

    def limit_threads(self, threads: int) -> None:
        """Set how many plain functions may run at once."""
        self._slots = asyncio.Semaphore(threads)

    def _async(self, handler: Callable[..., Any]) -> Callable[[Any, Context], Awaitable[Any]]:
        if inspect.iscoroutinefunction(handler):
            return handler

        @functools.wraps(handler)
        async def in_thread(message: Any, context: Context) -> Any:  # noqa: ANN401
            slots = self._slots
            await slots.acquire()
            work = asyncio.ensure_future(
                to_thread.run_sync(
                    handler,
                    message,
                    context,
                    abandon_on_cancel=True,
                    limiter=anyio.CapacityLimiter(math.inf),
                )
            )
            work.add_done_callback(lambda work: _ended(work, slots))
            # If the handler takes too long, the sender gets an error. A thread cannot be stopped,
            # so it keeps its slot until it ends by itself.
            return await asyncio.shield(work)

        return in_thread


def _ended(work: asyncio.Future[Any], slots: asyncio.Semaphore) -> None:
    slots.release()
    if not work.cancelled():
        work.exception()  # marks it as retrieved: after a timeout nothing else would


async def answer(route: Route, data: bytes, context: Context) -> Reply:
    """Run a handler inside its interceptors, and return the handler's own reply.

    Raises:
        Refusal: the data do not fit the handler, or the handler or an interceptor refused.
        Exception: any exception that the handler or an interceptor raises.
    """
    run = _Run(route, route.decode(data), context)
    proceed: Proceed = run.once
    for interceptor in reversed(route.interceptors):
        proceed = _inside(interceptor, context, proceed, run)
    return await proceed()


def encode(value: object) -> bytes:
    """Encode plain values, dataclasses, structs and pydantic models as JSON.

    Raises:
        TypeError: a part of the value has no JSON form.
    """
    if isinstance(value, BaseModel):
        return value.model_dump_json().encode()
    return _json.encode(value)


class _Run:
    """One run of a handler, whose outcome is kept.

    An interceptor may call ``proceed`` twice, or swallow the handler's exception. Neither changes
    the outcome.
    """

    def __init__(self, route: Route, message: Any, context: Context) -> None:  # noqa: ANN401
        self._route = route
        self._message = message
        self._context = context
        self._outcome: Reply | Exception | None = None

    async def once(self) -> Reply:
        """Run the handler at the first call; every call has the same outcome."""
        if self._outcome is None:
            try:
                value = await self._route.call(self._message, self._context)
                self._outcome = Reply(self._context.type, encode(value))
            except Exception as error:  # noqa: BLE001 - raised below, and by `outcome` once more
                self._outcome = error
        return self.outcome()

    def outcome(self) -> Reply:
        """Return the reply, or raise the handler's exception.

        Raises:
            RuntimeError: the handler has not run: an interceptor neither proceeded nor refused.
        """
        if self._outcome is None:
            raise RuntimeError("expected the interceptor to call proceed or to raise Refusal")
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


def _inside(interceptor: Interceptor, context: Context, proceed: Proceed, run: _Run) -> Proceed:
    async def intercepted() -> Reply:
        await interceptor(context, proceed)
        return run.outcome()

    return intercepted


def _decoder(handler: Callable[..., Any]) -> Callable[[bytes], Any]:
    parameters = list(inspect.signature(handler).parameters)
    if len(parameters) != 2:
        raise ValueError(f"expected a handler of (message, context), got {parameters}")
    kind = get_type_hints(handler).get(parameters[0], Any)
    if kind is bytes:
        return bytes
    if inspect.isclass(kind) and issubclass(kind, BaseModel):
        return functools.partial(_decode_model, kind)
    return functools.partial(_decode_plain, msgspec.json.Decoder(kind))


def _decode_model(model: type[BaseModel], data: bytes) -> BaseModel:
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in ("data", *first["loc"]))
        raise Refusal("invalid", f"{where}: {first['msg']}") from None


def _decode_plain(decoder: msgspec.json.Decoder[Any], data: bytes) -> Any:  # noqa: ANN401
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Refusal("invalid", f"data: {error}") from None
