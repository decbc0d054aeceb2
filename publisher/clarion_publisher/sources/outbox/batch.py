"""One batch of rows: to the ingestion, and what becomes of each row. No I/O of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from clarion_contract.identity.claims import Claims
from clarion_publisher.ingestion.authorise import SCOPES
from clarion_publisher.ingestion.ingestion import Ingestion, Outcome
from clarion_publisher.ingestion.refusal import BUS_REFUSED, Refusal
from clarion_publisher.sources.outbox.rows import Row, event_of

_FOREVER: Final = float("inf")
_REASON_MAX_CHARACTERS: Final = 500


def caller_of(identity: str) -> Claims:
    """The caller in whose name rows are published. Anybody that may insert a row may publish it."""
    return Claims(f"outbox:{identity}", frozenset(SCOPES.values()), _FOREVER)


@dataclass(slots=True)
class Result:
    """The outcome of a batch.

    Attributes:
        done: ids of rows whose events are in Redis.
        refused: by id, the refusals of rows that can never be published.
        waits: rows that have to be handed in again, and why.
        outcomes: of all rows, in order.
    """

    done: list[int] = field(default_factory=list)
    refused: dict[int, Refusal] = field(default_factory=dict)
    waits: list[tuple[Row, Refusal]] = field(default_factory=list)
    outcomes: Sequence[Outcome] = ()

    @property
    def reasons(self) -> dict[int, str]:
        """Why rows are set aside, by id."""
        return {
            id_: refusal.detail[:_REASON_MAX_CHARACTERS] for id_, refusal in self.refused.items()
        }


async def hand_in(
    rows: Sequence[Row], identity: str, ingestion: Ingestion, *, data_max_bytes: int
) -> Result:
    """Publish rows in their order.

    Args:
        identity: of the outbox, see `clarion_publisher.sources.outbox.schema.find`.
    """
    events = [event_of(row, identity, data_max_bytes=data_max_bytes) for row in rows]
    result = Result(outcomes=await ingestion.publish(caller_of(identity), events))
    for row, outcome in zip(rows, result.outcomes, strict=True):
        if not isinstance(outcome, Refusal):
            result.done.append(row.id)
        elif outcome.kind.retryable or outcome.kind is BUS_REFUSED:
            result.waits.append((row, outcome))
        else:
            result.refused[row.id] = outcome
    return result
