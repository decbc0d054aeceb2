"""Topics on one gateway: deliveries, subscribing, memory, clients that come back, growing texts.

Every figure is CPU time or memory of the gateway's process, or a count. Both sides of a comparison
take turns on the same gateway and sockets.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from clarion_bench.laboratory import Laboratory
from clarion_bench.topic_figure import TopicFigure
from clarion_bench.topics.deliveries import to_many, to_one
from clarion_bench.topics.memberships import memberships
from clarion_bench.topics.storm import storm
from clarion_bench.topics.texts import texts


@dataclass(frozen=True)
class TopicsOptions:
    """The options.

    Attributes:
        sockets: receive one topic all, and then 10 each of many topics.
        single: topics with one member each.
        subscribers: clients that subscribe by messages.
        returning: clients that come back at the same time.
        texts: growing texts with two readers each.
        turns: of each side of a ratio.
        seconds: length of each measured window.
    """

    sockets: int = 2_000
    single: int = 10_000
    subscribers: int = 1_000
    returning: int = 5_000
    texts: int = 500
    turns: int = 5
    seconds: float = 4.0


def topics(
    options: TopicsOptions, bench: Laboratory, announce: Callable[[str], None]
) -> Iterator[TopicFigure]:
    """Yield each figure as it is measured; parts whose option is 0 are left out."""
    turns, seconds = options.turns, options.seconds
    if options.sockets:
        announce(f"events to topics of {options.sockets:,} sockets, and to all of them")
        yield from to_many(options.sockets, turns, seconds, bench)
    if options.single:
        announce(f"events to {options.single:,} topics with one member each, and to users")
        yield from to_one(options.single, turns, seconds, bench)
    if options.subscribers:
        announce(f"{options.subscribers:,} clients subscribe")
        yield from memberships(options.subscribers, turns, bench)
    if options.returning:
        announce(f"{options.returning:,} clients come back, with 10 topics each")
        yield from storm(options.returning, bench)
    if options.texts:
        announce(f"{options.texts:,} growing texts with two readers each, and single events")
        yield from texts(options.texts, turns, seconds, bench)
