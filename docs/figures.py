"""Writes the measured figures of docs/figures.toml into the pages that quote them.

A page marks the place: the function of that name in `BLOCKS` generates everything between
``<!-- figures: NAME -->`` and ``<!-- end of figures -->``. A test compares the pages with the
generated text. To write the figures again, run ``python -m docs.figures``.
"""
# ruff: noqa: E501 - a row of a Markdown table is one line

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, Final

DOCS: Final = Path(__file__).parent
ROOT: Final = DOCS.parent
SOURCE: Final = DOCS / "figures.toml"

FIGURES: Final[dict[str, Any]] = tomllib.loads(SOURCE.read_text())
"""Tables of figures, by the name of the measurement; their names contain the units."""

_BLOCK: Final = re.compile(
    r"(?P<begin><!-- figures: (?P<name>[\w-]+) -->\n).*?(?P<end><!-- end of figures -->)", re.DOTALL
)

_REQUESTS: Final = {
    "single requests": "single_us",
    "batches of 100": "batches_of_100_us",
    "batches of 1,000": "batches_of_1000_us",
}

_NAMES: Final = {
    "clarion": "**Clarion**, with tokens",
    "uws": "uWebSockets (C++), no tokens",
    "socketio": "socket.io with its Redis adapter, no tokens",
}


def _fanout() -> str:
    fanout = FIGURES["fanout"]
    offered = fanout["offered_per_second"]
    lines = [
        f"| | CPU per delivery, 20 events/s | at 200 events/s | held of {offered:,}/s | p99 at 200/s | KB per idle socket | handshakes/s |",
        "|---|---|---|---|---|---|---|",
    ]
    for server, name in _NAMES.items():
        each = fanout[server]
        held = f"{each['held_per_second']:,}"
        held += ", all" if each["held_per_second"] > 0.98 * offered else ", falls behind"
        cells = (
            name,
            f"{each['rare_us']} µs",
            f"{each['busy_us']} µs",
            held,
            f"{each['p99_ms']:,} ms",
            f"{each['idle_kb']}",
            f"{each['handshakes_per_second']:,}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _fanout_runs() -> str:
    lines = [
        "| | µs per delivery at 20 events/s, four runs | handshakes/s | CPU per handshake |",
        "|---|---|---|---|",
    ]
    for server, name in _NAMES.items():
        each = FIGURES["fanout"][server]
        runs = " · ".join(f"{run}" for run in each["rare_runs_us"])
        lines.append(
            f"| {name} | {runs} | {each['handshakes_per_second']:,} | {each['handshake_us']} µs |"
        )
    return "\n".join(lines) + "\n"


def _beside() -> str:
    beside = FIGURES["beside"]
    offered = beside["offered_per_second"]
    names = {
        "clarion": _NAMES["clarion"],
        "clarion-socketio": "**Clarion**, clients of Socket.IO, with tokens",
        "socketio": _NAMES["socketio"],
        "uws": _NAMES["uws"],
        "centrifugo": "Centrifugo, with tokens and history",
    }
    lines = [
        f"| | CPU per delivery, 20 events/s | at 150 events/s | received of {offered:,}/s | p99 at 150/s | KB per idle socket | handshakes/s | CPU per handshake |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for server, name in names.items():
        each = beside[server]
        received = each["received_per_second"]
        cells = (
            name,
            f"{each['rare_us']:.2f} µs",
            f"{each['busy_us']:.2f} µs",
            f"{received:,}" + (", all" if received > 0.98 * offered else ", falls behind"),
            f"{each['p99_ms']} ms" if "p99_ms" in each else "seconds",
            f"{each['idle_kb']}",
            each["handshakes"],
            f"{each['handshake_us']} µs",
        )
        lines.append(f"| {' | '.join(cells)} |")
    clarion, socketio = beside["clarion-socketio"]["rare_us"], beside["socketio"]["rare_us"]
    lines += [
        "",
        (
            f"- A delivery to a client of Socket.IO costs {clarion / socketio:.2f} of what it costs socket.io, and "
            f"{clarion / beside['clarion']['rare_us']:.2f} of one to a native client."
        ),
        (
            f"- Centrifugo's handshakes are cheaper: {beside['centrifugo']['handshake_us']} µs of CPU against "
            f"{beside['clarion']['handshake_us']} µs."
        ),
    ]
    return "\n".join(lines) + "\n"


def _beside_later() -> str:
    lines = [
        "| | CPU per delivery, 20 events/s | at 150 events/s | p99 at 150/s | CPU per handshake |",
        "|---|---|---|---|---|",
    ]
    names = {
        "clarion": "**Clarion**, with tokens",
        "uws": "uWebSockets (C++), no tokens",
        "centrifugo": "Centrifugo, with tokens and history",
    }
    for server, name in names.items():
        each = FIGURES["beside-later"][server]
        lines.append(
            f"| {name} | {each['rare_us']} µs | {each['busy_us']} µs | {each['p99_ms']:,} ms | {each['handshake_us']} µs |"
        )
    return "\n".join(lines) + "\n"


def _compression() -> str:
    lines = ["| | CPU per delivery | p99 | received of 40,000/s |", "|---|---|---|---|"]
    names = {"clarion": "**Clarion**", "ws": "ws", "uws": "uWebSockets (C++)"}
    for server, (cpu_us, p99_ms, received) in FIGURES["compression"].items():
        base, _, deflate = server.partition("-")
        name = names[base] + (", compressed" if deflate else "")
        held = "all" if received > 39_000 else f"{received:,}, falls behind"
        lines.append(f"| {name} | {cpu_us} µs | {p99_ms:,} ms | {held} |")
    return "\n".join(lines) + "\n"


def _tails() -> str:
    lines = [
        "| | first socket, p50 / p99 | last socket, p50 / p99 | reading all takes the reader |",
        "|---|---|---|---|",
    ]
    names = {
        "clarion": "**Clarion**, with tokens and history",
        "uws": "uWebSockets (C++), no tokens",
    }
    tails = FIGURES["tails"]
    for server, name in names.items():
        first_p50, first_p99, last_p50, last_p99, reader = tails[server]
        lines.append(
            f"| {name} | {first_p50} / {first_p99} ms | {last_p50} / {last_p99} ms | {reader} ms |"
        )
    slower, tail = (tails["clarion"][place] / tails["uws"][place] for place in (2, 3))
    lines += [
        "",
        (
            f"At the median, Clarion's last socket has the event {slower - 1:.0%} later than that of uWebSockets; "
            f"at the p99, after {tail:.1f} times the time."
        ),
    ]
    return "\n".join(lines) + "\n"


def _polling() -> str:
    polling = FIGURES["polling"]
    clarion, socketio = polling["clarion-polling"], polling["socketio-polling"]
    names = {"clarion-polling": "**Clarion**, with tokens", "socketio-polling": _NAMES["socketio"]}
    lines = [
        "| | CPU per delivery | p50 | p99 | KB per session |",
        "|---|---|---|---|---|",
    ]
    for server, name in names.items():
        each = polling[server]
        cells = (
            name,
            f"{' · '.join(map(str, each['delivery_us']))} µs",
            f"{' · '.join(map(str, each['p50_ms']))} ms",
            f"{' · '.join(f'{ms:,}' for ms in each['p99_ms'])} ms",
            " · ".join(map(str, each["session_kb"])),
        )
        lines.append(f"| {' | '.join(cells)} |")
    ratios = [
        f"{ours / theirs:.2f}"
        for ours, theirs in zip(clarion["delivery_us"], socketio["delivery_us"], strict=True)
    ]
    lines += [
        "",
        f"- A delivery by polling costs {' and '.join(ratios)} of what it costs socket.io.",
    ]
    return "\n".join(lines) + "\n"


def _sources() -> str:
    each = FIGURES["sources"]
    rows, cost, late = (
        " · ".join(f"{run:,}" for run in each[name])
        for name in ("rows_per_second", "row_us", "row_p99_ms")
    )
    return (
        "| | per second | CPU each | p99 |\n|---|---|---|---|\n"
        f"| rows of a [PostgreSQL outbox](outbox.md), from a backlog, two runs | {rows} | {cost} µs | |\n"
        f"| the same at 200 commits a second, from the commit to a socket | 200 | | {late} ms |\n"
        f"| messages to an [upstream](handlers.md#handlers-in-any-language) that answers at once | {each['messages_per_second']:,} | {each['message_us']} µs | {each['message_p99_ms']} ms |\n\n"
        f"While the upstream hangs, the p99 of other clients' events is {each['others_ratio']} of what it is while it answers.\n"
    )


def _targeted() -> str:
    each = FIGURES["targeted"]
    return (
        "| | events/s | CPU per event | p99 |\n|---|---|---|---|\n"
        f"| burst | {each['burst_per_second']:,} | {each['burst_us']} µs | |\n"
        f"| held, of {each['offered_per_second']:,} offered | {each['held_per_second']:,} | {each['held_us']} µs | {each['held_p99_ms']} ms |\n"
    )


def _publishing() -> str:
    clarion, centrifugo = (FIGURES["publishing"][name] for name in ("clarion", "centrifugo"))
    lines = [
        "| | CPU per event, Clarion | Centrifugo | ratio | events/s, Clarion | Centrifugo |",
        "|---|---|---|---|---|---|",
    ]
    for name, key in _REQUESTS.items():
        ours, theirs = (" · ".join(map(str, each[key])) for each in (clarion, centrifugo))
        rates = (
            " · ".join(f"{rate:,}" for rate in each[key.replace("_us", "_per_second")])
            for each in (clarion, centrifugo)
        )
        lines.append(
            f"| {name} | {ours} µs | {theirs} µs | {publishing_ratio(key):.2f} | {' | '.join(rates)} |"
        )
    return "\n".join(lines) + "\n"


def publishing_ratio(key: str) -> float:
    """Clarion's CPU per event over Centrifugo's, the median of the runs' ratios.

    Args:
        key: of a row of figures in ``publishing``.
    """
    clarion, centrifugo = (FIGURES["publishing"][name] for name in ("clarion", "centrifugo"))
    return median(a / b for a, b in zip(clarion[key], centrifugo[key], strict=True))


def _pythons() -> str:
    lines = ["| | CPU per handshake, four turns |", "|---|---|"]
    lines += [
        f"| Python {version} | {' · '.join(map(str, turns))} µs |"
        for version, turns in FIGURES["pythons"].items()
    ]
    each = FIGURES["pythons-compared"]
    lines.append("")
    lines.append(
        f"An idle socket takes {each['idle_kb_311']:.2f} KB on 3.11 and {each['idle_kb_313']:.2f} KB on 3.13."
    )
    return "\n".join(lines) + "\n"


def _growth() -> str:
    rows = {
        "CPU per delivery, by sockets on one gateway": ("delivery_us", "µs"),
        "memory of the process per idle socket, by sockets": ("socket_bytes", "bytes"),
        "CPU of a busy Redis per event to `all`, by gateways": ("redis_us", "µs"),
        "CPU of Redis per event, at 200 single events/s": ("redis_single_us", "µs"),
        "CPU of Redis per event, in batches of 100": ("redis_batched_us", "µs"),
        "CPU of one gateway with 20 sockets per event to `all`, by gateways": ("gateway_us", "µs"),
        "CPU of the gateway per event to a single user, by users' streams": ("targeted_us", "µs"),
        "memory of Redis per user's stream with one event, by streams": ("stream_bytes", "bytes"),
    }
    lines = ["| | value at each size |", "|---|---|"]
    for name, (curve, unit) in rows.items():
        points = " · ".join(
            f"{value:,} {unit} at {size:,}" for size, value in FIGURES["growth"][curve]
        )
        lines.append(f"| {name} | {points} |")
    return "\n".join(lines) + "\n"


def _avalanche() -> str:
    lines = [
        "| | peak in 1 s | peak in 0.1 s | without a connection, p50 / p99 | all back, from SIGTERM | attempts | deliveries missed |",
        "|---|---|---|---|---|---|---|",
    ]
    names = {
        "clarion": "Clarion, default settings",
        "socketio": "socket.io with its Redis adapter",
    }
    for server, name in names.items():
        each = FIGURES["avalanche"][server]
        missed = f"{each['missed']:,}" + (f" of {each['due']:,}" if "due" in each else "")
        lines.append(
            f"| {name} | {each['peak_per_second']:,} | {each['peak_per_tenth']} | {each['away_p50_seconds']:.2f} s / {each['away_p99_seconds']:.2f} s | {each['all_back_seconds']} s | {each['attempts']:,} | {missed} |"
        )
    return "\n".join(lines) + "\n"


def _rest_in_words() -> str:
    targeted, publishing = FIGURES["targeted"], FIGURES["publishing"]["clarion"]
    return (
        f"- One gateway delivers {targeted['burst_per_second']:,} events a second to single users in a burst. At {targeted['held_per_second']:,} a second\n"
        f"  it keeps up, with a p99 of {targeted['held_p99_ms']} ms.\n"
        f"- One publisher takes {min(publishing['batches_of_1000_per_second']):,} events a second in batches of 1,000, at {max(publishing['batches_of_1000_us']):.0f} µs each.\n"
        f"  A single request takes {publishing_ratio('single_us'):.2f} times the CPU that it takes Centrifugo.\n"
        f"- The machine: {FIGURES['machine']['text']}. A bare `send` costs {FIGURES['machine']['send_us']} µs on it.\n"
    )


BLOCKS: Final[dict[str, Callable[[], str]]] = {
    "fan-out": _fanout,
    "fan-out-runs": _fanout_runs,
    "beside": _beside,
    "beside-later": _beside_later,
    "compression": _compression,
    "tails": _tails,
    "polling": _polling,
    "sources": _sources,
    "targeted": _targeted,
    "publishing": _publishing,
    "pythons": _pythons,
    "growth": _growth,
    "avalanche": _avalanche,
    "in-words": _rest_in_words,
}
"""The functions that generate text between markers, by name."""


def page(text: str) -> str:
    """A page with the figures of docs/figures.toml.

    Raises:
        KeyError: the page asks for a block that is not in `BLOCKS`.
    """
    return _BLOCK.sub(
        lambda found: f"{found['begin']}\n{BLOCKS[found['name']]()}\n{found['end']}", text
    )


def pages() -> Iterator[Path]:
    """Every page that quotes figures."""
    for path in (ROOT / "README.md", *sorted(DOCS.rglob("*.md"))):
        if _BLOCK.search(path.read_text()):
            yield path


def main() -> None:
    """Write the figures into the pages."""
    for path in pages():
        path.write_text(page(path.read_text()))


if __name__ == "__main__":
    main()
