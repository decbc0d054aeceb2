"""Draws the dashboards for the docs: ``python -m tests.observability.pictures FOLDER [MINUTES]``.

Panels, positions, queries, legends, units, colours and thresholds come from the dashboards' own
JSON. The numbers come from a real Prometheus that watched a real stack for an hour of plausible
traffic. FOLDER keeps the recording, so that a change of a panel needs no second hour. Grafana plays
no part, and draws more finely.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from tests.observability.files import ROOT, Fields, dashboards, rows
from tests.observability.observed import Observed, record_hour, recorded_hour

FOLDER: Final = ROOT / "docs" / "dashboards"

_COLUMN_INCHES, _LINE_INCHES, _MARGIN_INCHES = 0.6, 0.32, 0.07
_TITLE, _TEXT = 10, 8  # points; GitHub shows the pictures at about two thirds of their size
_DPI: Final = 100
_LEGEND_LINES: Final = 4
_PAGE, _CARD, _EDGE, _INK, _MUTED = "#f4f5f7", "#ffffff", "#dfe3e8", "#1f2933", "#616e7c"
_COLOURS: Final = {
    "green": "#2f9e5f", "yellow": "#d69e2e", "orange": "#e8710a", "red": "#d64545", "blue": "#3b7dd8",
}  # fmt: skip
_SERIES: Final = (
    "#0f766e", "#d97706", "#4c6ef5", "#be4bdb", "#e03131", "#66a80f", "#1098ad", "#7048e8",
)  # fmt: skip

Box = tuple[float, float, float, float]
"""Left, bottom, width and height, as shares of the figure."""


def draw(dashboard: Fields, observed: Observed, path: Path) -> None:
    """Draw the whole dashboard as one picture, with every row open, in the format of the path's
    suffix."""
    placed = _opened(dashboard)
    lines = max(place["y"] + place["h"] for place, _ in placed) + 2
    figure = Figure(figsize=(24 * _COLUMN_INCHES, lines * _LINE_INCHES), dpi=_DPI, facecolor=_PAGE)
    figure.text(0.006, 1 - 1 / lines, dashboard["title"], size=16, color=_INK, va="center")
    minutes = (observed.end - observed.start) / 60
    figure.text(
        0.994, 1 - 1 / lines, f"{minutes:.0f} minutes of two gateways and a publisher, all rows open;"
        " times in minutes",
        size=_TEXT + 1, color=_MUTED, va="center", ha="right",
    )  # fmt: skip
    for place, panel in placed:
        box = _box(place, lines)
        if panel["type"] == "row":
            figure.text(box[0] + 0.006, box[1] + box[3] / 2, panel["title"], size=_TITLE + 1,
                        color=_MUTED, weight="bold", va="center")  # fmt: skip
        else:
            _panel(figure, box, panel, observed)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None} if path.suffix == ".png" else None)


def _opened(dashboard: Fields) -> list[tuple[Fields, Fields]]:
    """Each row and panel with its place once all rows are open."""
    placed = []
    line = 0
    for row, below in rows(dashboard):
        shift = line - row["gridPos"]["y"]
        for panel in (row, *below):
            place = panel["gridPos"] | {"y": panel["gridPos"]["y"] + shift}
            placed.append((place, panel))
            line = max(line, place["y"] + place["h"])
    return placed


def _box(place: Fields, lines: int) -> Box:
    bottom = lines - 2 - place["y"] - place["h"]
    return place["x"] / 24, bottom / lines, place["w"] / 24, place["h"] / lines


def _panel(figure: Figure, box: Box, panel: Fields, observed: Observed) -> None:
    """Draw a panel's frame, title and content."""
    width, height = figure.get_size_inches()
    left, bottom, wide, high = box
    x, y = _MARGIN_INCHES / width, _MARGIN_INCHES / height
    figure.add_artist(
        FancyBboxPatch(
            (left + x, bottom + y), wide - 2 * x, high - 2 * y, facecolor=_CARD, edgecolor=_EDGE,
            linewidth=0.8, boxstyle="round,pad=0,rounding_size=0.002",
            transform=figure.transFigure, zorder=-1,
        )
    )  # fmt: skip
    title = 0.23 / height
    figure.text(
        left + 2 * x, bottom + high - title, panel["title"], size=_TITLE, color=_INK, va="center"
    )
    drawn = [
        (_legend(target["legendFormat"], labels), points)
        for target in panel["targets"]
        for labels, points in sorted(observed.points(target["expr"]), key=repr)
    ]
    inner = (left + 2 * x, bottom + 2 * y, wide - 4 * x, high - 2 * y - 1.8 * title)
    _KINDS[panel["type"]](figure, inner, panel, drawn, observed)


def _legend(text: str, labels: dict[str, str]) -> str:
    return re.sub(r"{{(\w+)}}", lambda match: labels.get(match[1], ""), text)


Named = Sequence[tuple[str, list[tuple[float, float]]]]


def _stat(figure: Figure, box: Box, panel: Fields, drawn: Named, observed: Observed) -> None:
    """Draw the last value large, over a line of the earlier values."""
    left, bottom, width, height = box
    field = panel["fieldConfig"]["defaults"]
    if not drawn:
        return
    ((_, points),) = drawn
    last = points[-1][1]
    colour = _colour(last, field["thresholds"]["steps"])
    axes = figure.add_axes((left, bottom, width, height * 0.45))
    axes.set_axis_off()
    axes.set_xlim(0, (observed.end - observed.start) / 60)
    times, values = _since(points, observed.start)
    axes.fill_between(times, values, color=colour, alpha=0.15, linewidth=0)
    axes.plot(times, values, color=colour, linewidth=1)
    axes.set_ylim(0, (max(values) or 1) * 1.05)
    figure.text(left + width / 2, bottom + height * 0.68, shown(last, field["unit"]), size=19,
                color=colour, ha="center", va="center")  # fmt: skip


def _lines(figure: Figure, box: Box, panel: Fields, drawn: Named, observed: Observed) -> None:
    """Draw series over time, and below them each one's name, last value and highest value."""
    left, bottom, width, height = box
    field = panel["fieldConfig"]["defaults"]
    unit = field["unit"]
    inches = float(figure.get_size_inches()[1])
    entry = 0.165 / inches
    named = sorted(drawn, key=lambda series: -max(value for _, value in series[1]))
    entries = min(len(named), _LEGEND_LINES)
    stacked = field["custom"]["stacking"]["mode"] == "normal"
    below: dict[float, float] = {}
    axes = _axes(
        figure, (left, bottom + entries * entry, width, height - entries * entry), observed
    )
    highest = 0.0
    for number, (name, points) in enumerate(named):
        colour = _fixed(panel, name) or _SERIES[number % len(_SERIES)]
        times, values = _since(points, observed.start)
        feet = [below.get(time, 0.0) for time, _ in points]
        tops = [foot + value for foot, value in zip(feet, values, strict=True)]
        axes.plot(times, tops, color=colour, linewidth=1.1)
        axes.fill_between(
            times, feet, tops, color=colour, alpha=0.2 if stacked else 0.07, linewidth=0
        )
        highest = max(highest, *tops)
        if stacked:
            below |= {time: top for (time, _), top in zip(points, tops, strict=True)}
        if number < entries:
            _entry(figure, left, bottom + (entries - 1 - number) * entry, width, colour,
                   name if number < _LEGEND_LINES - 1 or len(named) == entries
                   else f"{name}, and {len(named) - entries} more",
                   shown(values[-1], unit), shown(max(values), unit))  # fmt: skip
    for step in field["thresholds"]["steps"]:
        if step["value"] is not None and step["value"] <= highest * 1.5:
            axes.axhline(step["value"], color=_COLOURS[step["color"]], linewidth=0.8, dashes=(4, 3))
    axes.set_ylim(0, field.get("max", (highest or 1) * 1.12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value, unit)))


def _entry(
    figure: Figure, left: float, bottom: float, width: float, colour: str,
    name: str, last: str, most: str,
) -> None:  # fmt: skip
    figure.text(left, bottom, "━", size=_TEXT, color=colour, va="bottom")
    figure.text(left + 0.013, bottom, name, size=_TEXT, color=_INK, va="bottom")
    values = f"last {last} · max {most}" if width > 0.2 else last
    figure.text(left + width, bottom, values, size=_TEXT, color=_MUTED,
                va="bottom", ha="right")  # fmt: skip


def _fixed(panel: Fields, name: str) -> str | None:
    """The colour that the dashboard gives to a series of this name."""
    for override in panel["fieldConfig"]["overrides"]:
        if re.search(override["matcher"]["options"].strip("/"), name):
            return _COLOURS[override["properties"][0]["value"]["fixedColor"]]
    return None


def _states(figure: Figure, box: Box, panel: Fields, drawn: Named, observed: Observed) -> None:
    """Draw a bar for each series, in the colour of its state."""
    axes = _axes(figure, box, observed)
    (mapping,) = panel["fieldConfig"]["defaults"]["mappings"]
    for number, (_, points) in enumerate(drawn):
        times, values = _since(points, observed.start)
        width = (observed.end - observed.start) / 60 / max(len(times), 1) * 1.1
        colours = [_COLOURS[mapping["options"][f"{value:.0f}"]["color"]] for value in values]
        axes.barh([number] * len(times), width, left=times, height=0.7, color=colours)
    axes.set_yticks(range(len(drawn)), [name.removeprefix("gateway-") for name, _ in drawn])
    axes.set_ylim(-0.6, max(len(drawn), 1) - 0.4)
    axes.grid(visible=False)


def _heatmap(figure: Figure, box: Box, panel: Fields, drawn: Named, observed: Observed) -> None:
    """Draw buckets over time. Prometheus' buckets include all lower ones; a heatmap's do not."""
    axes = _axes(figure, box, observed)
    bounds = {float(name): dict(points) for name, points in drawn}
    times = sorted({time for points in bounds.values() for time in points})
    below = dict.fromkeys(times, 0.0)
    cells = []
    for bound in sorted(bounds):
        upto = {time: bounds[bound].get(time, below[time]) for time in times}
        cells.append([max(0.0, upto[time] - below[time]) for time in times])
        below = upto
    axes.pcolormesh(
        [(time - observed.start) / 60 for time in times], range(len(cells)), cells,
        cmap="Oranges", shading="nearest",
    )  # fmt: skip
    labels = [shown(bound, "s") for bound in sorted(bounds)]
    axes.set_yticks(range(0, len(labels), 3), labels[::3])
    axes.grid(visible=False)


_KINDS: Final[dict[str, Callable[[Figure, Box, Fields, Named, Observed], None]]] = {
    "stat": _stat,
    "timeseries": _lines,
    "state-timeline": _states,
    "heatmap": _heatmap,
}


def _axes(figure: Figure, box: Box, observed: Observed) -> Axes:
    """Make axes that look alike, with room for their labels."""
    left, bottom, width, height = box
    inches = float(figure.get_size_inches()[1])
    axes = figure.add_axes(
        (left + 0.034, bottom + 0.22 / inches, width - 0.037, height - 0.27 / inches)
    )
    axes.set_facecolor(_CARD)
    axes.set_xlim(0, (observed.end - observed.start) / 60)
    axes.tick_params(labelsize=_TEXT, colors=_MUTED, length=0, pad=2)
    axes.grid(color=_EDGE, linewidth=0.6)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


def _since(points: list[tuple[float, float]], start: float) -> tuple[list[float], list[float]]:
    """Minutes since the start, and values."""
    return [(time - start) / 60 for time, _ in points], [value for _, value in points]


def _colour(value: float, steps: Sequence[Fields]) -> str:
    """The colour of the highest threshold that the value has reached."""
    reached = [step for step in steps if step["value"] is None or value >= step["value"]]
    return _COLOURS[reached[-1]["color"]]


def shown(value: float, unit: str) -> str:
    """A value as Grafana shows it: three digits, and a unit that fits its size."""
    match unit:
        case "s" if 0 < value < 1e-3:
            return f"{value * 1e6:.3g} µs"
        case "s" if 0 < value < 1:
            return f"{value * 1e3:.3g} ms"
        case "percentunit":
            return f"{value * 100:.3g}%"
        case "bool_yes_no":
            return "yes" if value >= 1 else "no"
        case "bytes" | "Bps":
            return _scaled(value, 1024, ("B", "KiB", "MiB", "GiB")) + (
                "/s" if unit == "Bps" else ""
            )
        case "ops" | "reqps":
            return f"{_scaled(value, 1000, ('', 'K', 'M')).strip()}/s"
        case "s":
            return f"{value:.3g} s"
        case _:
            return _scaled(value, 1000, ("", "K", "M")).strip()


def _scaled(value: float, base: int, names: Sequence[str]) -> str:
    power = 0
    while abs(value) >= base and power < len(names) - 1:
        value /= base
        power += 1
    return f"{value:.3g} {names[power]}"


def path_of(dashboard: Fields, folder: Path = FOLDER) -> Path:
    return folder / f"{dashboard['uid']}.png"


def main() -> None:
    """Draw all pictures again, from a recording that is made if the folder has none."""
    folder = Path(sys.argv[1])
    if not (folder / "times.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        record_hour(folder, float(sys.argv[2]) * 60 if len(sys.argv) > 2 else 3600)
    with recorded_hour(folder) as observed:
        for dashboard in dashboards():
            draw(dashboard, observed, path_of(dashboard))


if __name__ == "__main__":
    main()
