"""Results as a plot: one small chart per figure, Clarion in colour, its peers in grey.

It needs matplotlib (`pip install matplotlib`); the rest of this package works without it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clarion_bench.results import Report, Trial
from clarion_bench.table import label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OURS = "#0f766e"
_PEERS = "#b8bec7"
_BEHIND = "#e9ecef"
_INK = "#1f2933"
_MUTED = "#616e7c"
_COLUMNS = 3


@dataclass(frozen=True)
class Bar:
    """One server's value. `note` is written after it; `faded`: the server did not keep up."""

    server: str
    value: float
    note: str = ""
    faded: bool = False


@dataclass(frozen=True)
class Chart:
    """One figure for all servers."""

    title: str
    better: str
    bars: list[Bar]
    show: Callable[[float], str]


def charts(report: Report) -> list[Chart]:
    """Choose the figures that are worth a chart."""
    made = []
    for rate in sorted({r.offered_per_second for r in report.fanout if r.offered_per_second}):
        results = [result for result in report.fanout if result.offered_per_second == rate]
        at = f"{rate:g} events/s to {results[0].sockets:,} sockets"
        cost = [_bar(result, result.cpu_us_per_delivery) for result in results]
        made.append(Chart(f"CPU µs per delivery\n{at}", "less", cost, _plain))
        delay = [_bar(result, result.p99_ms) for result in results]
        made.append(Chart(f"p99 publish to receipt, ms\n{at}", "less", delay, _plain))
    if bursts := [result for result in report.fanout if result.offered_per_second is None]:
        most = [Bar(result.server, result.deliveries_per_second) for result in bursts]
        title = f"Deliveries/s on one core\nburst to {bursts[0].sockets:,} sockets"
        made.append(Chart(title, "more", most, _thousands))
    if report.idle:
        title = f"KB per idle connection\n{report.idle[0].connections:,} sockets"
        held = [Bar(result.server, result.kilobytes_per_connection) for result in report.idle]
        made.append(Chart(title, "less", held, _plain))
        cost = [Bar(result.server, result.cpu_us_per_handshake) for result in report.idle]
        made.append(Chart("CPU µs per handshake\nconcurrency 50", "less", cost, _plain))
    return made


def draw(report: Report, paths: Sequence[Path]) -> bool:
    """Draw the report into each path, by its suffix; say whether there was anything to draw."""
    made = charts(report)
    if not made:
        return False
    # Optional and slow to import, so it is imported only for drawing.
    from matplotlib.figure import Figure  # noqa: PLC0415

    rows = -(-len(made) // _COLUMNS)
    figure = Figure(figsize=(4.6 * _COLUMNS, 2.9 * rows + 0.5), layout="constrained")
    axes = list(figure.subplots(rows, _COLUMNS, squeeze=False).flat)
    for ax, chart in zip(axes, made, strict=False):
        _draw_chart(ax, chart)
    for ax in axes[len(made) :]:
        ax.set_axis_off()
    figure.supxlabel(_caption(report), fontsize=8, color=_MUTED)
    for path in paths:
        figure.savefig(path, dpi=160, facecolor="white")
    return True


def _draw_chart(ax: "Axes", chart: Chart) -> None:
    bars = sorted(chart.bars, key=lambda bar: bar.value, reverse=chart.better == "less")
    colours = [_colour(bar) for bar in bars]
    ax.barh([label(bar.server) for bar in bars], [bar.value for bar in bars], color=colours)
    widest = max(bar.value for bar in bars) or 1.0
    for row, bar in enumerate(bars):
        text = chart.show(bar.value) + (f"  {bar.note}" if bar.note else "")
        ax.text(bar.value + widest * 0.02, row, text, va="center", fontsize=8.5, color=_INK)
    ax.set_xlim(0, widest * 1.45)
    ax.set_title(f"{chart.title} ({chart.better} is better)", loc="left", fontsize=9.5, color=_INK)
    ax.xaxis.set_visible(False)
    ax.tick_params(axis="y", length=0, labelsize=9, labelcolor=_INK)
    ax.spines[:].set_visible(False)


def _bar(result: Trial, value: float) -> Bar:
    return Bar(result.server, value, "" if result.kept_up else "falls behind", not result.kept_up)


def _colour(bar: Bar) -> str:
    if bar.server.startswith("clarion"):
        return _OURS
    return _BEHIND if bar.faded else _PEERS


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"


def _thousands(value: float) -> str:
    return f"{value / 1e6:,.2f} M" if value >= 1e6 else f"{value / 1e3:,.0f} k"


def _caption(report: Report) -> str:
    machine = report.machine
    apart = "server pinned to one" if machine.pinned else "not pinned"
    parts = [machine.cpu, f"{machine.cores} cores, {apart}", machine.kernel]
    parts += [f"Python {machine.python}", f"Node {machine.node}", machine.redis, machine.time[:10]]
    if report.disturbed:
        parts.append(f"disturbed: other programs used up to {report.others_busy:.0%} of a core")
    return " · ".join(parts)
