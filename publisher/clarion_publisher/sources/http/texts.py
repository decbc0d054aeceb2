"""Growing texts over HTTP: a producer writes piece by piece, anybody with the scope stops.

`clarion_contract.bus.texts` keeps them. The routes are in `operations`.
"""

from __future__ import annotations

from clarion_contract.bus import texts
from clarion_contract.bus.bus import Bus
from clarion_contract.bus.texts import MissingPieces
from clarion_contract.events.audience import Audience, topic_audience
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.events.event import InvalidEvent
from clarion_contract.identity.claims import Claims
from clarion_contract.texts.piece import InvalidText, check_name, in_json
from clarion_contract.texts.writer import Standing, Step
from clarion_publisher.ingestion.admission import CheckDeclared
from clarion_publisher.ingestion.authorise import authorise
from clarion_publisher.ingestion.rate_limit import RateLimit
from clarion_publisher.ingestion.refusal import INVALID_EVENT, FieldError, Refusal, bus_failure
from clarion_publisher.settings import PublisherSettings
from clarion_publisher.sources.http.answers import TextStatus
from clarion_publisher.sources.http.problems import INVALID_REQUEST, HttpRefusal, invalid
from clarion_publisher.sources.http.schemas import WritePiece


class Texts:
    """The handlers.

    Args:
        rate_limit: each piece counts as an event.
    """

    def __init__(self, keeper: texts.Texts, rate_limit: RateLimit) -> None:
        self._keeper = keeper
        self._rate_limit = rate_limit

    async def write(self, caller: Claims, topic: str, name: str, wanted: WritePiece) -> TextStatus:
        """Write a piece, or tell that the producer lives.

        Raises:
            Refusal: the caller lacks the scope, a field is wrong, or Redis does not answer.
        """
        audience = self._allowed(caller, topic)
        self._rate_limit.take(caller.subject, 1)
        step = _step(wanted)
        try:
            carry = self._keeper.carrier(audience.name, wanted.type, name)
            return _status(name, await carry(step))
        except InvalidText as error:
            raise HttpRefusal(INVALID_REQUEST, str(error)) from None
        except InvalidEvent as error:
            raise Refusal(INVALID_EVENT, str(error)) from None
        except MissingPieces as missing:
            expected = f"the next piece's number, {missing.seq + 1}"
            wrong = FieldError("/seq", expected, str(wanted.seq))
            raise invalid(INVALID_REQUEST, wrong) from None
        except BusUnavailable as error:
            raise bus_failure(error, "sending the same piece again is safe") from None

    async def stop(self, caller: Claims, topic: str, name: str) -> TextStatus:
        """End a text as stopped.

        Raises:
            Refusal: the caller lacks the scope, or Redis does not answer.
        """
        audience = self._allowed(caller, topic)
        try:
            return _status(name, await self._keeper.stop(audience, check_name(name)))
        except InvalidText as error:
            raise HttpRefusal(INVALID_REQUEST, str(error)) from None
        except BusUnavailable as error:
            raise bus_failure(error, "sending the request again is safe") from None

    def _allowed(self, caller: Claims, topic: str) -> Audience:
        audience = topic_audience(topic)
        authorise(caller, audience)
        return audience


def texts_of(
    settings: PublisherSettings, bus: Bus, rate_limit: RateLimit, check: CheckDeclared | None = None
) -> Texts:
    """The handlers as settings have them.

    Args:
        check: the faults of an event by its declaration; None: nothing is declared.
    """
    keeper = texts.Texts(
        bus,
        settings.keyspace,
        settings.history,
        max_bytes=settings.text_max_bytes,
        lease_seconds=settings.text_lease_seconds,
        check=check,
    )
    return Texts(keeper, rate_limit)


def _step(wanted: WritePiece) -> Step:
    piece = in_json(wanted.text)
    if not wanted.seq and (piece or wanted.state != "writing"):
        wrong = FieldError("/seq", "the piece's number, from 1", "0")
        raise invalid(INVALID_REQUEST, wrong)
    return Step(wanted.seq, piece, wanted.state, wanted.reason)


def _status(name: str, standing: Standing) -> TextStatus:
    return TextStatus(name, standing.state, standing.reason)
