"""JSON of handlers: decodes messages for them, and encodes what they return."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, get_type_hints

import msgspec
from pydantic import BaseModel, ValidationError

from clarion_gateway.application.refusal import Refusal
from clarion_gateway.wire.parts import ATTACHMENTS_MAX, Parts

Decode = Callable[[bytes], Any]
"""Decodes a message's data for a handler; raises `Refusal` if they do not fit it."""


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"expected a value with a JSON form, got {type(value).__name__}")


_json = msgspec.json.Encoder(enc_hook=_plain)

_BYTES: Final = (bytes, bytearray, memoryview)
_WITHOUT_BYTES: Final = frozenset({type(None), bool, int, float, str, msgspec.Raw})


def encode(value: object) -> bytes:
    """Encode plain values, dataclasses, structs and pydantic models as JSON.

    Raises:
        TypeError: a part of the value has no JSON form.
    """
    if isinstance(value, BaseModel):
        return value.model_dump_json().encode()
    return _json.encode(value)


def encode_all(values: Sequence[object]) -> bytes:
    """Encode the arguments of a message: one as it is, several as an array, none as ``null``.

    Raises:
        TypeError: see `encode`.
    """
    if len(values) == 1:
        return encode(values[0])
    return _json.encode(values) if values else b"null"


def parts_of(values: Sequence[object]) -> Parts | None:
    """The arguments of a message for clients that take several, and bytes; None: one without bytes.

    Bytes are found in plain values, data classes and structs.

    Raises:
        TypeError: see `encode`.
        ValueError: more than `ATTACHMENTS_MAX` values of bytes.
    """
    attachments: list[bytes] = []
    try:
        has_bytes = any(map(_has_bytes, values))  # nearly no message has any, and no copy is needed
    except RecursionError:  # nested deeper than any bytes are looked for
        has_bytes = False
    if len(values) <= 1 and not has_bytes:
        return None
    detached = [_detached(value, attachments) for value in values] if has_bytes else values
    if len(attachments) > ATTACHMENTS_MAX:
        raise ValueError(
            f"expected at most {ATTACHMENTS_MAX} values of bytes in one message, got "
            f"{len(attachments)}"
        )
    return Parts(b",".join(map(encode, detached)), tuple(attachments))


def _has_bytes(value: object) -> bool:
    kind = type(value)
    if kind in _WITHOUT_BYTES or isinstance(value, BaseModel):
        return False
    return kind in _BYTES or any(map(_has_bytes, _values_in(value)))


def _values_in(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return value.values()
    if isinstance(value, (list, tuple)):
        return value
    if isinstance(value, msgspec.Struct):
        return (getattr(value, name) for name in value.__struct_fields__)
    if dataclasses.is_dataclass(value):
        return (getattr(value, each.name) for each in dataclasses.fields(value))
    return ()


def _detached(value: object, attachments: list[bytes]) -> object:
    """The value with a placeholder for each of its bytes, which are added to the attachments."""
    kind = type(value)
    if kind in _WITHOUT_BYTES or isinstance(value, BaseModel):
        return value
    if kind in _BYTES:
        attachments.append(bytes(value))  # type: ignore[call-overload]  # see _BYTES
        return {"_placeholder": True, "num": len(attachments) - 1}
    if isinstance(value, Mapping):
        return {name: _detached(each, attachments) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_detached(each, attachments) for each in value]
    if isinstance(value, msgspec.Struct) or dataclasses.is_dataclass(value):
        return _detached(
            msgspec.to_builtins(value, builtin_types=_BYTES, enc_hook=_plain), attachments
        )
    return value


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
