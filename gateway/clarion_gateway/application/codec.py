"""JSON of handlers: decodes messages for them, and encodes what they return."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Final, NamedTuple, get_type_hints

import msgspec
from pydantic import BaseModel, ValidationError

from clarion_gateway.application.refusal import Refusal

Decode = Callable[[bytes], Any]
"""Decodes a message's data for a handler; raises `Refusal` if they do not fit it."""


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"expected a value with a JSON form, got {type(value).__name__}")


_json = msgspec.json.Encoder(enc_hook=_plain)


def encode(value: object) -> bytes:
    """Encode plain values, dataclasses, structs and pydantic models as JSON.

    Raises:
        TypeError: a part of the value has no JSON form.
    """
    if isinstance(value, BaseModel):
        return value.model_dump_json().encode()
    return _json.encode(value)


class Signature(NamedTuple):
    """The types of a handler's messages and replies, and what its docstring says of it."""

    takes: Any = Any
    returns: Any = Any
    about: str = ""


UNKNOWN: Final = Signature()
"""The signature of a handler that is not a function: it may take and return any JSON."""


def signature_of(handler: Callable[..., Any]) -> Signature:
    """The signature of a handler: the annotations of its first parameter and of its reply.

    Raises:
        ValueError: the handler does not take a message and a context.
    """
    parameters = list(inspect.signature(handler).parameters)
    if len(parameters) != 2:
        raise ValueError(f"expected a handler of (message, context), got {parameters}")
    hints = get_type_hints(handler)
    about = inspect.getdoc(handler) or ""
    return Signature(hints.get(parameters[0], Any), hints.get("return", Any), about)


def decoder_of(handler: Callable[..., Any]) -> Decode:
    """The decoder of a handler's messages, by the annotation of its first parameter.

    Raises:
        ValueError: the handler does not take a message and a context.
    """
    kind = signature_of(handler).takes
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
