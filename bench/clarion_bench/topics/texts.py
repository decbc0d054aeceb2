"""Growing texts with two readers each: the cost of a token, beside that of a single event.

A producer writes 50 tokens a second, and each event takes those of 40 ms. The events go directly on
their channels, as text.lua does at its end: see `clarion_bench.clarion.ChannelPublisher`.
"""

import contextlib
from collections.abc import Iterator
from typing import Final

from clarion_bench import clarion
from clarion_bench.laboratory import Laboratory
from clarion_bench.topic_figure import TopicFigure
from clarion_bench.topics.deliveries import others_busy
from clarion_bench.topics.turns import Side, alternate, crowd, gateway
from clarion_bench.window import Instruments
from clarion_contract.events.audience import topic_audience
from clarion_contract.texts.writer import FLUSH_SECONDS

_WORD: Final = " lorem"
_TOKENS_PER_SECOND: Final = 50
_EVENTS_PER_SECOND: Final = 1 / FLUSH_SECONDS
_TOKENS_EACH: Final = round(_TOKENS_PER_SECOND * FLUSH_SECONDS)
_READERS: Final = 2
_AIM: Final = 1.0


def texts(count: int, turns: int, seconds: float, bench: Laboratory) -> Iterator[TopicFigure]:
    """Pieces of texts, and as many single events with one token each to as many topics."""
    growing = [topic_audience(f"bench.text.{index}") for index in range(count)]
    single = [topic_audience(f"bench.token.{index}") for index in range(count)]
    queries = [
        _query(growing[index % count].name, single[index % count].name, index)
        for index in range(count * _READERS)
    ]
    url = bench.broker.url
    with (
        gateway(bench) as server,
        crowd(server, queries) as sockets,
        contextlib.closing(
            clarion.ChannelPublisher(url, growing, lambda number, _: _piece(number, count))
        ) as pieces,
        contextlib.closing(clarion.ChannelPublisher(url, single, _single)) as tokens,
    ):
        instruments = Instruments(server.process, bench.broker, sockets)
        rate = count * _EVENTS_PER_SECOND
        sides = [Side(pieces, _READERS, rate), Side(tokens, _READERS, rate)]
        windows = alternate(sides, turns, seconds, instruments)
    grown, alone = ([window.cpu_us_per_event * _READERS for window in side] for side in windows)
    yield TopicFigure(
        f"{count:,} texts, {_TOKENS_PER_SECOND} tokens/s: µs a token",
        [cost / _TOKENS_EACH for cost in grown],
        alone,
        aim=_AIM,
        others_busy=others_busy(windows),
    )


def _query(growing: str, single: str, index: int) -> str:
    """A reader that asked for everything so far, so the gateway keeps the text."""
    token = clarion.token(clarion.user(index), subscribe=["bench.*.*"])
    return f"?token={token}&last=1&topic={growing}&topic={single}"


def _piece(number: int, count: int) -> bytes:
    """A piece as text.lua writes it; the tab tells gateways that it is one."""
    seq = number // count + 1
    whole = "true" if seq == 1 else "false"
    text = _WORD * _TOKENS_EACH
    return (
        f'\t{{"stream":"t","seq":{seq},"whole":{whole},"state":"writing","text":"{text}"}}'
    ).encode()


def _single(number: int, _: bytes) -> bytes:
    return f'{{"number":{number},"text":"{_WORD}"}}'.encode()
