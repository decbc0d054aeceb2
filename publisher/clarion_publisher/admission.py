"""From a caller's event to a publication, or a refusal: size, user id, scope, key. Pure."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from clarion_contract.events.audience import (
    ALL,
    AUTHENTICATED,
    Audience,
    InvalidUserId,
    user_audience,
)
from clarion_contract.events.event import Publication
from clarion_publisher.authorise import authorise
from clarion_publisher.problems import DATA_TOO_LARGE, FieldError, Refusal, invalid_event
from clarion_publisher.schemas import USER_EXPECTED, NewEvent, UserAudience

if TYPE_CHECKING:  # at run time it would bring redis along
    from clarion_contract.identity.claims import Claims


class Admission:
    """What a caller's event must pass before it goes to the bus."""

    def __init__(self, *, data_max_bytes: int) -> None:
        self._data_max_bytes = data_max_bytes

    def admit(
        self, caller: Claims, event: NewEvent, *, key: str | None, trace: str | None
    ) -> Publication:
        """The publication of an event.

        Args:
            key: the idempotency key as the producer chose it.
            trace: a W3C traceparent for the gateways.

        Raises:
            Refusal: the event is too large or for nobody, or the caller may not publish it.
        """
        data = bytes(event.data)
        if len(data) > self._data_max_bytes:
            raise Refusal(
                DATA_TOO_LARGE,
                f"expected data of at most {self._data_max_bytes} bytes, got {len(data)} bytes",
            )
        audience = read_audience(event)
        authorise(caller, audience)
        if key is not None:
            key = producer_key(caller.subject, key)
        return Publication(audience, event.type, data, key, event.exclude, trace)


def read_audience(event: NewEvent) -> Audience:
    """The audience that an event names.

    Raises:
        Refusal: the user id cannot name a stream.
    """
    wanted = event.audience
    if isinstance(wanted, UserAudience):
        try:
            return user_audience(wanted.user)
        except InvalidUserId:
            got = f"{len(wanted.user.encode())} bytes"
            raise invalid_event(FieldError("/audience/user", USER_EXPECTED, got)) from None
    return ALL if wanted == "all" else AUTHENTICATED


def producer_key(producer: str, key: str) -> str:
    """An idempotency key of one producer, as it stands in Redis.

    A hash: two producers' keys never meet, and no character of theirs gets into a name in Redis.
    """
    name = producer.encode("utf-8", "surrogatepass")
    text = b"%d:%b%b" % (len(name), name, key.encode())
    return hashlib.blake2b(text, digest_size=16).hexdigest()
