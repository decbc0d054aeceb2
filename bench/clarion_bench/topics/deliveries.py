"""The cost of a delivery to a topic, beside deliveries to the audience `all` and to users."""

import contextlib
from collections.abc import Iterator, Sequence

from clarion_bench import clarion
from clarion_bench.laboratory import Laboratory
from clarion_bench.topic_figure import TopicFigure
from clarion_bench.topics.turns import Side, alternate, crowd, gateway
from clarion_bench.window import Instruments, Window
from clarion_contract.events.audience import topic_audience, user_audience

_EVERYONE = topic_audience("bench.all")
_RATES = (20.0, 150.0)
_ONE_TOPIC_AIM = 1.15
_GROUPS_AIM = 1.5
_MEMBERS = 10


def to_many(sockets: int, turns: int, seconds: float, bench: Laboratory) -> Iterator[TopicFigure]:
    """One topic that all sockets receive, and then groups of ten; each beside `all`."""
    groups = [topic_audience(f"bench.group.{index}") for index in range(sockets // _MEMBERS)]
    members = [[_EVERYONE.name, groups[index % len(groups)].name] for index in range(sockets)]
    with (
        gateway(bench) as server,
        crowd(server, clarion.topic_queries(members)) as sockets_of_all,
        contextlib.closing(clarion.to_all(bench.broker.url)) as all_,
        contextlib.closing(clarion.to_each(bench.broker.url, [_EVERYONE])) as everyone,
        contextlib.closing(clarion.to_each(bench.broker.url, groups)) as each_group,
    ):
        instruments = Instruments(server.process, bench.broker, sockets_of_all)
        for rate in _RATES:
            sides = [Side(everyone, sockets, rate), Side(all_, sockets, rate)]
            name = f"one topic of {sockets:,}, {rate:g}/s: µs"
            yield _cost(name, alternate(sides, turns, seconds, instruments), _ONE_TOPIC_AIM)
        # As many deliveries a second on both sides, so each socket is written to as often.
        rate = float(_MEMBERS)
        sides = [Side(each_group, _MEMBERS, rate * len(groups)), Side(all_, sockets, rate)]
        name = f"{len(groups):,} topics of {_MEMBERS}, {rate * len(groups):,.0f}/s: µs"
        yield _cost(name, alternate(sides, turns, seconds, instruments), _GROUPS_AIM)


def to_one(topics: int, turns: int, seconds: float, bench: Laboratory) -> Iterator[TopicFigure]:
    """As many events as the gateway takes, to topics of one member each, beside single users."""
    own = [topic_audience(f"bench.own.{index}") for index in range(topics)]
    users = [user_audience(clarion.user(index)) for index in range(topics)]
    with (
        gateway(bench) as server,
        crowd(server, clarion.topic_queries([[each.name] for each in own])) as sockets,
        contextlib.closing(clarion.ChannelPublisher(bench.broker.url, own)) as to_topics,
        contextlib.closing(clarion.ChannelPublisher(bench.broker.url, users)) as to_users,
    ):
        instruments = Instruments(server.process, bench.broker, sockets)
        sides = [Side(to_topics, 1, None), Side(to_users, 1, None)]
        windows = alternate(sides, turns, seconds, instruments)
        rates = [[1e6 / window.cpu_us_per_event for window in side] for side in windows]
        name = f"{topics:,} topics of one: events/CPU s"
        yield TopicFigure(
            name, rates[0], rates[1], 1.0, at_least=True, others_busy=others_busy(windows)
        )


def others_busy(windows: Sequence[Sequence[Window]]) -> float:
    """The most that other programs used in any of the windows, in cores."""
    return max(window.busy.others for side in windows for window in side)


def _cost(name: str, windows: Sequence[Sequence[Window]], aim: float) -> TopicFigure:
    """CPU per delivery of the first side beside the second."""
    costs = [[window.cpu_us_per_event for window in side] for side in windows]
    return TopicFigure(name, costs[0], costs[1], aim, others_busy=others_busy(windows))
