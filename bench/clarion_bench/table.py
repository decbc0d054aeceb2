"""Results as tables on a terminal."""

from collections.abc import Sequence
from statistics import median

from rich.table import Table

from clarion_bench import payload
from clarion_bench.comparison import Comparison
from clarion_bench.contenders import CONTENDERS
from clarion_bench.growth_tables import growth_tables
from clarion_bench.results import (
    Avalanche,
    Idle,
    Outbox,
    Publishing,
    Report,
    Soak,
    Tail,
    Trial,
    Upstream,
)
from clarion_bench.sheet import busy_text, milliseconds, new_table
from clarion_bench.topic_figure import TopicFigure

# A server that used less of its core than this was waiting for the load client.
_BOUND = 0.9
_MOMENTS_SHOWN = 12


def tables(report: Report) -> list[Table]:
    """Return one table per kind of result that the report holds."""
    made = _of_sockets(report)
    if report.publishing:
        made.append(_publishing(report.publishing))
    if report.outbox:
        made.append(_outbox(report.outbox))
    if report.upstream:
        made.append(_upstream(report.upstream))
    if report.topics:
        made.append(_topics(report.topics))
    made += growth_tables(report.growth)
    if report.avalanche:
        made.append(_avalanche(report.avalanche))
    made += [_soak(result) for result in report.soak]
    if report.comparisons:
        made.append(_comparisons(report.comparisons))
    return made


def _of_sockets(report: Report) -> list[Table]:
    """The tables of servers and the sockets that they hold."""
    made = []
    if report.idle:
        made.append(_idle(report.idle))
    if report.fanout:
        made.append(_fanout(report.fanout))
    if report.targeted:
        made.append(_targeted(report.targeted))
    if report.tails:
        made.append(_tails(report.tails))
    return made


def label(server: str) -> str:
    """Return a server's name as shown."""
    return CONTENDERS[server].label if server in CONTENDERS else server


def _short(number: float) -> str:
    if number >= 1e6:
        return f"{number / 1e6:.1f} M"
    return f"{number / 1e3:.0f} k" if number >= 1e4 else f"{number:,.0f}"


def _received(result: Trial) -> str:
    """The share of the deliveries that arrived, and other faults."""
    wrong = []
    if result.closed:
        wrong.append(f"{result.closed:,} closed")
    if result.misordered:
        wrong.append(f"{result.misordered:,} misordered")
    if result.missing:
        wrong.append(f"{_short(result.missing)} late")
    if not result.complete and not wrong:
        wrong.append("uneven")
    if not result.kept_up and not wrong:
        wrong.append("all, late")
    return ", ".join(wrong) or "all"


def _comparisons(results: Sequence[Comparison]) -> Table:
    turns = len(results[0].old)
    title = f"Two checkouts, medians of {turns} turns each"
    table = new_table(title, ["", "old", "new", "change", "noise", ""], busy=False)
    for result in results:
        table.add_row(
            result.figure,
            f"{median(result.old):.2f}",
            f"{median(result.new):.2f}",
            f"{result.change:+.1%}",
            f"{result.noise:.1%}",
            result.verdict,
        )
    return table


def _outbox(results: Sequence[Outbox]) -> Table:
    columns = ["rows", "rows/s", "CPU µs each", "commits/s", "p50 ms", "p99 ms"]
    table = new_table("A PostgreSQL outbox through one publisher", columns)
    for result in results:
        table.add_row(
            f"{result.rows:,}",
            f"{result.rows_per_second:,.0f}",
            f"{result.cpu_us_per_row:.1f}",
            f"{result.commits_per_second:g}",
            milliseconds(result.p50_ms),
            milliseconds(result.p99_ms),
            busy_text(result.busy),
        )
    return table


def _upstream(results: Sequence[Upstream]) -> Table:
    columns = ["msgs/s", "CPU µs", "p99 ms", "others, p99 ms", "it hangs", "ratio"]
    table = new_table("Messages to an upstream, and the clients beside them", columns)
    for result in results:
        table.add_row(
            f"{result.messages_per_second:,.0f}",
            f"{result.cpu_us_per_message:.1f}",
            milliseconds(result.p99_ms),
            milliseconds(result.others_p99_ms),
            milliseconds(result.others_hanging_p99_ms),
            f"{result.ratio:.2f}",
            busy_text(result.busy),
        )
    return table


def _topics(results: Sequence[TopicFigure]) -> Table:
    columns = ["", "topics", "beside", "ratio", "aim", "others"]
    table = new_table(
        "Topics on one gateway, medians of the turns; ✗: the aim is missed", columns, busy=False
    )
    for result in results:
        bound = "≥" if result.at_least else "≤"
        table.add_row(
            result.figure,
            _figure(median(result.values)),
            _figure(median(result.beside)) if result.beside else "",
            "" if result.ratio is None else f"{result.ratio:.2f}",
            f"{'' if result.reached else '✗ '}{bound} {result.aim:,g}",
            f"{result.others_busy * 100:.0f} %",
        )
    return table


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _idle(results: Sequence[Idle]) -> Table:
    columns = ["", "sockets", "handshakes/s", "CPU µs each", "KB each"]
    table = new_table("Opening and holding sockets", columns)
    for result in results:
        bound = "" if result.busy.server > _BOUND else "≥ "
        table.add_row(
            label(result.server),
            f"{result.connections:,}",
            f"{bound}{result.handshakes_per_second:,.0f}",
            f"{result.cpu_us_per_handshake:,.0f}",
            f"{result.kilobytes_per_connection:,.1f}",
            busy_text(result.busy),
        )
    return table


def _fanout(results: Sequence[Trial]) -> Table:
    size = results[0].event_bytes
    event = "One event" if size == payload.SIZE_BYTES else f"One event of {size:,} bytes"
    return _trials(f"{event} to {results[0].sockets:,} sockets", "deliveries\n/s", results)


def _targeted(results: Sequence[Trial]) -> Table:
    return _trials(f"Events to one of {results[0].sockets:,} users", "received\n/s", results)


def _trials(title: str, rate: str, results: Sequence[Trial]) -> Table:
    columns = ["", "events\n/s", rate, "CPU µs\neach", "p50\nms", "p99\nms", "received"]
    table = new_table(title, columns)
    several = len({result.server for result in results}) > 1
    before = results[0].offered_per_second
    for result in results:
        offered = result.offered_per_second
        if several and offered != before:
            table.add_section()
        before = offered
        table.add_row(
            label(result.server),
            f"{offered:,.0f}" if offered else "burst",
            f"{result.deliveries_per_second:,.0f}",
            f"{result.cpu_us_per_delivery:,.2f}",
            # In a burst, events wait by design.
            milliseconds(result.p50_ms) if offered else "",
            milliseconds(result.p99_ms) if offered else "",
            _received(result),
            busy_text(result.busy),
        )
    return table


def _tails(results: Sequence[Tail]) -> Table:
    columns = ["", "events", "first\np50 ms", "first\np99 ms", "last\np50 ms", "last\np99 ms"]
    columns += ["reader\nms"]
    title = f"Single events: the first and the last of {results[0].sockets:,} sockets"
    table = new_table(title, columns)
    for result in results:
        table.add_row(
            label(result.server),
            f"{result.events:,}",
            f"{result.first_p50_ms:.2f}",
            f"{result.first_p99_ms:.2f}",
            f"{result.last_p50_ms:.2f}",
            f"{result.last_p99_ms:.2f}",
            f"{result.reader_ms:.2f}",
            busy_text(result.busy),
        )
    return table


def _publishing(results: Sequence[Publishing]) -> Table:
    columns = [
        "",
        "batch",
        "call-\ners",
        "req.\n/s",
        "events\n/s",
        "CPU\nµs",
        "p50\nms",
        "p99\nms",
    ]
    columns += ["re-\nfused"]
    table = new_table("Publishing over HTTP", columns)
    for result in results:
        table.add_row(
            label(result.server),
            f"{result.batch:,}",
            f"{result.concurrency}",
            f"{result.requests_per_second:,.0f}",
            f"{result.events_per_second:,.0f}",
            f"{result.cpu_us_per_event:,.1f}",
            milliseconds(result.p50_ms),
            milliseconds(result.p99_ms),
            f"{result.refusals:,}",
            busy_text(result.busy),
        )
    return table


def _avalanche(results: Sequence[Avalanche]) -> Table:
    columns = ["", "all back\ns", "peak\n/s", "peak in\n0.1 s", "away\np50 s", "away\np99 s"]
    columns += ["tries", "missed", "twice", "told"]
    table = new_table(f"{results[0].connections:,} clients lose their server", columns, busy=False)
    for result in results:
        table.add_row(
            label(result.server),
            f"{result.back_seconds:.1f}",
            f"{result.highest_per_second:,.0f}",
            f"{result.highest_in_100_ms:,}",
            f"{result.away_p50_seconds:.2f}",
            f"{result.away_p99_seconds:.2f}",
            f"{result.attempts:,}",
            f"{result.missed:,}",
            f"{result.doubled:,}",
            f"{result.told:,}",
        )
    return table


def _soak(result: Soak) -> Table:
    columns = ["s", "own\nMB", "resident\nMB", "tasks", "files", "lag\nms", "CPU\n%", "deliveries"]
    title = (
        f"{result.connections:,} sockets, {result.users:,} of them users, {result.events:,} events "
        f"in {result.seconds:,.0f} s:\n{result.lost:,} lost, {result.doubled:,} doubled, "
        f"{result.closed:,} closed, {'even' if result.even else 'UNEVEN'}; "
        f"{result.resumed:,} resumes; p50 {milliseconds(result.p50_ms)} ms, "
        f"p99 {milliseconds(result.p99_ms)} ms"
    )
    table = new_table(title, columns, busy=False)
    moments = result.moments
    step = max(1, len(moments) // _MOMENTS_SHOWN)
    for moment in [*moments[:-1:step], moments[-1]]:
        table.add_row(
            f"{moment.seconds:,.0f}",
            f"{moment.memory_bytes / 1e6:,.1f}",
            f"{moment.resident_bytes / 1e6:,.1f}",
            f"{moment.tasks:,}",
            f"{moment.files:,}",
            f"{moment.lag_seconds * 1e3:,.1f}",
            f"{moment.cpu_share * 100:,.0f}",
            f"{moment.delivered:,}",
        )
    return table
