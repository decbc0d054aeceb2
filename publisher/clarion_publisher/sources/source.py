"""What a source of events is to the publisher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from clarion_publisher.ingestion.ingestion import Ingestion


class Source(Protocol):
    """Reads events from somewhere and hands them in.

    `clarion_publisher.app.running` runs each source as a task of its own. To add one, write a
    module with such a class, and list it in `clarion_publisher.app`.

    Example::

        class Lines:
            async def run(self, ingestion: Ingestion) -> None:
                async for line in lines():
                    await ingestion.publish(CALLER, [IncomingEvent(ALL, "line", encode(line))])

            def obstacles(self) -> Sequence[str]:
                return ()
    """

    async def run(self, ingestion: Ingestion) -> None:
        """Hand in events until cancelled.

        Cancelling means: take nothing new, finish what is under way, then end. Temporary trouble is
        the source's own to wait out. Any other exception is a bug: it ends the pod, and Kubernetes
        starts another.
        """

    def obstacles(self) -> Sequence[str]:
        """Why the pod should get no traffic as far as this source is concerned; empty: it may.

        Each stands in the body of ``/readyz``, for people.
        """
