"""JSON of handlers: decodes messages for them, and encodes what they return."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

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


def decoder_of(handler: Callable[..., Any]) -> Decode:
    """The decoder of a handler's messages, by the annotation of its first parameter.

    Raises:
        ValueError: the handler does not take a message and a context.
    """
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
