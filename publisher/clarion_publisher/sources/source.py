"""The interface of a source of events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from clarion_publisher.ingestion.ingestion import Ingestion


class Source(Protocol):
    """Reads events from somewhere and hands them to the ingestion.

    `clarion_publisher.app.running` runs each source as a task of its own. To add one, write a
    module with such a class, and list it in `clarion_publisher.app`.

    Example::

        class Lines:
            async def run(self, ingestion: Ingestion) -> None:
                async for line in lines():
                    await ingestion.publish(CALLER, [IncomingEvent(ALL, "line", encode(line))])

            def obstacles(self) -> Sequence[str]:
                return ()

            def warnings(self) -> Sequence[str]:
                return ()
    """

    async def run(self, ingestion: Ingestion) -> None:
        """Hand in events until cancelled.

        When cancelled, a source takes no new events, finishes the current ones and ends. The
        source itself waits out temporary trouble. Any other exception is a bug: it ends the pod,
        and Kubernetes starts another.
        """

    def obstacles(self) -> Sequence[str]:
        """The source's reasons why the pod should get no traffic; empty: there are none.

        Each reason is shown in the body of ``/readyz``, for people.
        """

    def warnings(self) -> Sequence[str]:
        """The source's faults, for people, with which the pod should get traffic all the same."""
