"""Results as a plot: one small chart per figure, Clarion in colour, its peers in grey.

A growth curve is a line over the sizes that were measured.

It needs matplotlib (`pip install matplotlib`); the rest of this package works without it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from clarion_bench.growth_points import Growth
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


@dataclass(frozen=True)
class Curve:
    """One figure over a size that grows: pairs of size and value, and maybe a second line of them.

    `names` are those of the two lines.
    """

    title: str
    size: str
    points: list[tuple[int, float]]
    second: list[tuple[int, float]] = field(default_factory=list)
    names: tuple[str, str] = ("", "")


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


def curves(growth: Growth) -> list[Curve]:
    """Choose the figures that grow, or show that they do not."""
    made = []
    if sockets := growth.sockets:
        size = "sockets on one gateway"
        cost = [(p.sockets, p.cpu_us_per_delivery) for p in sockets]
        made.append(Curve("CPU µs per delivery", size, cost))
        held = [(p.sockets, p.kilobytes_per_socket) for p in sockets]
        made.append(Curve("KB per idle socket", size, held))
        late = [(p.sockets, p.p99_ms) for p in sockets]
        made.append(Curve("p99 publish to receipt, ms", size, late))
    if gateways := growth.gateways:
        size = f"gateways on one Redis, {gateways[0].sockets_each} sockets each"
        redis = [(p.gateways, p.redis_us) for p in gateways]
        batched = [(p.gateways, p.redis_batched_us) for p in gateways]
        names = (f"at {gateways[0].events_per_second:g} events/s", "in batches")
        made.append(Curve("CPU µs of Redis per event", size, redis, batched, names))
        publishing = [(p.gateways, p.publishing_us) for p in gateways]
        made.append(Curve("CPU µs of the publisher per event", size, publishing))
        pods = [(p.gateways, p.pod_us) for p in gateways]
        made.append(Curve("CPU µs of one gateway per event", size, pods))
    if streams := growth.streams:
        size = "users' streams in Redis"
        memory = [(p.streams, p.bytes_per_stream) for p in streams]
        made.append(Curve("Bytes of Redis per stream", size, memory))
        cost = [(p.streams, p.gateway_us) for p in streams]
        made.append(Curve("CPU µs of the gateway per event", size, cost))
        redis = [(p.streams, p.redis_us) for p in streams]
        made.append(Curve("CPU µs of Redis per event", size, redis))
    return made


def draw(report: Report, paths: Sequence[Path]) -> bool:
    """Draw the report into each path, by its suffix; say whether there was anything to draw."""
    made: list[Chart | Curve] = [*charts(report), *curves(report.growth)]
    if not made:
        return False
    # Optional and slow to import, so it is imported only for drawing.
    from matplotlib.figure import Figure  # noqa: PLC0415

    rows = -(-len(made) // _COLUMNS)
    figure = Figure(figsize=(4.6 * _COLUMNS, 2.9 * rows + 0.5), layout="constrained")
    axes = list(figure.subplots(rows, _COLUMNS, squeeze=False).flat)
    for ax, chart in zip(axes, made, strict=False):
        if isinstance(chart, Curve):
            _draw_curve(ax, chart)
        else:
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


def _draw_curve(ax: "Axes", curve: Curve) -> None:
    sizes = [size for size, _ in curve.points]
    values = [value for _, value in curve.points + curve.second]
    for line, name, colour in zip(
        (curve.points, curve.second), curve.names, (_OURS, _MUTED), strict=True
    ):
        if line:
            ax.plot(*zip(*line, strict=True), color=colour, marker="o", markersize=4, label=name)
        for size, value in line:
            ax.annotate(
                _plain(value),
                (size, value),
                textcoords="offset points",
                xytext=(0, 6),
                ha="center",
                fontsize=8.5,
                color=_INK,
            )
    if curve.second:
        ax.legend(loc="lower right", fontsize=8.5, frameon=False, labelcolor=_INK)
    # Sizes double or grow tenfold, and only the sizes that were measured get a tick.
    ax.set_xscale("log")
    ax.set_xticks(sizes, [_size(size) for size in sizes])
    ax.minorticks_off()
    # From zero, so that a flat curve looks flat.
    ax.set_ylim(min(0.0, *values), max(*values, 1e-9) * 1.25)
    ax.set_title(curve.title, loc="left", fontsize=9.5, color=_INK)
    ax.set_xlabel(curve.size, fontsize=8.5, color=_MUTED)
    ax.yaxis.set_visible(False)
    ax.tick_params(axis="x", labelsize=8.5, labelcolor=_INK)
    ax.spines[["top", "left", "right"]].set_visible(False)


def _size(value: int) -> str:
    return f"{value / 1e3:g} k" if value >= 1_000 else f"{value}"


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
