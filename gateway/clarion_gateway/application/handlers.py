"""The application's side of a gateway: handlers for its clients' messages.

An application names its `Handlers` in ``GATEWAY_HANDLERS=package.module:handlers``:

    from clarion import Context, Handlers, propagate

    handlers = Handlers()

    @handlers.on("chat.message", propagate(to="all"))
    async def chat_message(message: ChatMessage, context: Context) -> ChatReply: ...

A handler may be a plain function (it runs in a thread) or async. Its first parameter's annotation
decides what it gets: a pydantic model, anything else that msgspec can decode, or `bytes` for the
JSON as it came. What it returns is encoded once; those bytes go to the sender, and to whoever an
interceptor propagates them to.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
import math
import traceback
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
    """A handler or an interceptor refuses a message; the sender is told code and message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Reply:
    """What a handler returned, encoded. Nobody can change it.

    Attributes:
        type: of the message that it answers.
        data: JSON in UTF-8.
    """

    type: str
    data: bytes


class Publish(Protocol):
    """Publishes to an audience through the bus, to every instance."""

    async def __call__(
        self, audience: Audience, type_: str, data: bytes, *, exclude: str | None = None
    ) -> Published:
        """Raises `clarion.BusUnavailable` when Redis does not answer."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """Who sent a message, and what a handler can do beside answering.

    Attributes:
        connection: id of the sender's connection.
        user: the sender, None for an anonymous one.
        type: of the message.
    """

    connection: str
    user: str | None
    pod: str
    type: str
    _publish: Publish

    async def publish(self, audience: Audience, type_: str, data: object) -> Published:
        """Publish an event of one's own, to everyone in the audience, the sender included.

        Raises:
            InvalidType: ``type_`` cannot be an event's type.
            BusUnavailable: Redis does not answer; the sender gets ``unavailable``.
        """
        return await self._publish(audience, check_type(type_), encode(data))

    async def propagate(self, audience: Audience, reply: Reply) -> Published:
        """Publish a reply as it is, to everyone in the audience but the sender's connection."""
        return await self._publish(audience, reply.type, reply.data, exclude=self.connection)


Proceed = Callable[[], Awaitable[Reply]]


class Interceptor(Protocol):
    """Wraps a handler: sees its reply without being able to alter it.

    It may refuse by raising `Refusal` before it calls ``proceed``, and act on the reply afterwards.
    """

    async def __call__(self, context: Context, proceed: Proceed) -> None:
        """Call ``proceed`` once; it runs the handler (or the next interceptor)."""
        ...


@dataclass(frozen=True, slots=True)
class Route:
    """A handler, what it takes, and the interceptors around it."""

    call: Callable[[Any, Context], Awaitable[Any]]
    decode: Callable[[bytes], Any]
    interceptors: Sequence[Interceptor]


class Handlers:
    """Handlers by message type."""

    def __init__(self, *, threads: int = 40) -> None:
        self._routes: dict[str, Route] = {}
        self._slots = asyncio.Semaphore(threads)

    def on(self, type_: str, *interceptors: Interceptor) -> Callable[[Handler], Handler]:
        """Register the decorated function for messages of a type.

        Raises:
            ValueError: the type has a handler already, or cannot be an event's type.
        """

        def register(handler: Handler) -> Handler:
            check_type(type_)
            if type_ in self._routes:
                raise ValueError(f"expected one handler for {type_!r}, got a second: {handler!r}")
            self._routes[type_] = Route(self._async(handler), _decoder(handler), interceptors)
            return handler

        return register

    def find(self, type_: str) -> Route | None:
        """The route of a message type."""
        return self._routes.get(type_)

    @property
    def types(self) -> Sequence[str]:
        """The message types that have a handler."""
        return tuple(self._routes)

    def limit_threads(self, threads: int) -> None:
        """How many plain functions may run at once."""
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
            # When the handler takes too long, the sender is told; the thread keeps its slot until
            # it ends by itself.
            return await asyncio.shield(work)

        return in_thread


def _ended(work: asyncio.Future[Any], slots: asyncio.Semaphore) -> None:
    slots.release()
    if not work.cancelled():
        work.exception()  # seen, also where nobody waits any more


def load(path: str) -> Handlers:
    """The handlers that ``package.module:name`` names.

    Raises:
        ValueError: the module cannot be imported, or the name is missing or something else.
    """
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ValueError(
            f"cannot import GATEWAY_HANDLERS={path}: {type(error).__name__}: {error}"
            f"{_place(error)}; `python -c 'import {module_name}'` shows the traceback"
        ) from error
    found = getattr(module, name, None)
    if not isinstance(found, Handlers):
        got = type(found).__name__ if hasattr(module, name) else "nothing of that name"
        raise ValueError(
            f"expected GATEWAY_HANDLERS={path} to name a clarion.Handlers object, got {got} in "
            f"{module.__file__ or module_name}"
        )
    return found


def _place(error: Exception) -> str:
    """The line that raised it, for what is the application's fault rather than the import's."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)[1:]
        if "importlib" not in frame.filename
    ]
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""


async def answer(route: Route, data: bytes, context: Context) -> Reply:
    """Run a handler inside its interceptors; the reply is the handler's own, whatever they do.

    Raises:
        Refusal: the data do not fit the handler, or somebody refused.
        Exception: whatever the handler raises.
    """
    run = _Run(route, route.decode(data), context)
    proceed: Proceed = run.once
    for interceptor in reversed(route.interceptors):
        proceed = _inside(interceptor, context, proceed, run)
    return await proceed()


def encode(value: object) -> bytes:
    """JSON of a handler's return value: plain values, dataclasses, structs, pydantic models.

    Raises:
        TypeError: something in it has no JSON.
    """
    if isinstance(value, BaseModel):
        return value.model_dump_json().encode()
    return _json.encode(value)


class _Run:
    """One run of a handler. Interceptors may ask for it twice, or swallow what it raises."""

    def __init__(self, route: Route, message: Any, context: Context) -> None:  # noqa: ANN401
        self._route = route
        self._message = message
        self._context = context
        self._outcome: Reply | Exception | None = None

    async def once(self) -> Reply:
        """Run the handler the first time; the same outcome every time."""
        if self._outcome is None:
            try:
                value = await self._route.call(self._message, self._context)
                self._outcome = Reply(self._context.type, encode(value))
            except Exception as error:  # noqa: BLE001 - raised below, and again where swallowed
                self._outcome = error
        return self.outcome()

    def outcome(self) -> Reply:
        """The reply, or what the handler raised.

        Raises:
            RuntimeError: it has not run: an interceptor neither proceeded nor refused.
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
