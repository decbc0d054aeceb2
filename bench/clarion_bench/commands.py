"""The benchmark's commands: `clarion bench …`, or `python -m clarion_bench …`."""

import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Annotated, TypeVar

import psycopg
import typer
from rich.console import Console

from clarion_bench import payload
from clarion_bench.avalanche import POLICIES, AvalancheOptions, avalanche
from clarion_bench.broker import NoBrokerError
from clarion_bench.callers import CallError
from clarion_bench.checkout import CheckoutError, checkout
from clarion_bench.clarion import RefusedError
from clarion_bench.compare import MEASUREMENTS, CompareOptions, compare
from clarion_bench.comparison import Comparison
from clarion_bench.contenders import CONTENDERS, DEFAULT_SERVERS
from clarion_bench.crowd import LoadError
from clarion_bench.fanout import FanoutOptions, fanout
from clarion_bench.growth import GrowthOptions, growth
from clarion_bench.growth_points import (
    GatewaysPoint,
    Growth,
    Point,
    SocketsPoint,
    StreamsPoint,
)
from clarion_bench.growth_tables import constants
from clarion_bench.laboratory import Laboratory, laboratory
from clarion_bench.machine import describe
from clarion_bench.outbox import OutboxOptions, outbox
from clarion_bench.packages import PackagesError
from clarion_bench.plot import draw
from clarion_bench.processes import StartError
from clarion_bench.publishing import INTAKES, PublishingOptions, publishing
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
    read,
    write,
)
from clarion_bench.soak import SoakOptions, soak
from clarion_bench.table import tables
from clarion_bench.tails import SERVERS as TAILS_SERVERS
from clarion_bench.tails import TailsOptions, tails
from clarion_bench.targeted import TargetedOptions, targeted
from clarion_bench.topic_figure import TopicFigure
from clarion_bench.topics import TopicsOptions, topics
from clarion_bench.upstream import UpstreamOptions, upstream

app = typer.Typer(
    help="Measure Clarion beside its peers on this machine.",
    no_args_is_help=True,
    # The shell completes `clarion`, which contains these commands.
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
console = Console()

Result = (
    Idle
    | Trial
    | Tail
    | Publishing
    | Avalanche
    | Soak
    | Outbox
    | Upstream
    | TopicFigure
    | Comparison
    | Point
)
Kind = TypeVar("Kind", bound=Result)
Measurement = Callable[[Laboratory, Callable[[str], None]], Iterable[Result]]

_EXPECTED = (
    psycopg.Error,
    CallError,
    CheckoutError,
    LoadError,
    NoBrokerError,
    PackagesError,
    RefusedError,
    StartError,
)
Output = Annotated[Path | None, typer.Option(help="Folder for results (JSON, PNG, SVG).")]
Seconds = Annotated[float, typer.Option(min=1, max=600, help="Length of each measured window.")]
Many = typer.Option(min=0, max=20_000, help="0: skip.")


@app.command("fanout")
def fanout_command(
    connections: Annotated[int, typer.Option(min=20, max=60_000)] = 2_000,
    rate: Annotated[list[float] | None, typer.Option(help="Events/s; may be repeated.")] = None,
    seconds: Seconds = 10,
    idle: Annotated[int, typer.Option(min=0, max=60_000, help="Idle sockets; 0: skip.")] = 10_000,
    burst: Annotated[bool, typer.Option(help="As many events as each server takes.")] = True,
    event_bytes: Annotated[
        int | None,
        typer.Option(
            min=payload.LARGER_BYTES,
            max=60_000,
            help=f"JSON of an event; without: {payload.SIZE_BYTES}.",
        ),
    ] = None,
    servers: Annotated[str, typer.Option(help=f"Of {', '.join(CONTENDERS)}.")] = ",".join(
        DEFAULT_SERVERS
    ),
    output: Output = None,
) -> None:
    """One event to every socket: Clarion and its peers, one after another."""
    options = FanoutOptions(
        servers=_names(servers, CONTENDERS),
        connections=connections,
        rates=(20.0, 200.0) if rate is None else rate,
        seconds=seconds,
        idle=idle,
        burst=burst,
        event_bytes=event_bytes or payload.SIZE_BYTES,
    )
    _run("fanout", lambda bench, announce: fanout(options, bench, announce), output)


@app.command("tails")
def tails_command(
    connections: Annotated[int, typer.Option(min=20, max=20_000)] = 2_000,
    events: Annotated[int, typer.Option(min=1, max=10_000, help="For each server.")] = 200,
    rate: Annotated[float, typer.Option(min=0.1, max=20, help="At most so many events/s.")] = 2.5,
    servers: Annotated[str, typer.Option(help=f"Of {', '.join(TAILS_SERVERS)}.")] = ",".join(
        DEFAULT_SERVERS
    ),
    output: Output = None,
) -> None:
    """Single events to idle sockets: the time to the first socket and to the last."""
    options = TailsOptions(
        servers=_names(servers, TAILS_SERVERS), connections=connections, events=events, rate=rate
    )
    _run("tails", lambda bench, announce: tails(options, bench, announce), output)


@app.command("targeted")
def targeted_command(
    users: Annotated[int, typer.Option(min=100, max=60_000)] = 2_000,
    rate: Annotated[
        list[float] | None, typer.Option(help="Events/s; without: the highest held is sought.")
    ] = None,
    seconds: Seconds = 10,
    output: Output = None,
) -> None:
    """Events to single users through one gateway: how many it holds."""
    options = TargetedOptions(users=users, rates=rate or (), seconds=seconds)
    _run("targeted", lambda bench, announce: targeted(options, bench, announce), output)


@app.command("publish")
def publish_command(
    batch: Annotated[list[int] | None, typer.Option(help="Events per request; repeatable.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=1_000)] = 64,
    seconds: Seconds = 10,
    servers: Annotated[str, typer.Option(help=f"Of {', '.join(INTAKES)}.")] = "clarion",
    output: Output = None,
) -> None:
    """Events over HTTP into one publisher: how many it accepts."""
    options = PublishingOptions(
        servers=_names(servers, INTAKES),
        batches=batch or (1, 100, 1_000),
        concurrency=concurrency,
        seconds=seconds,
    )
    _run("publish", lambda bench, announce: publishing(options, bench, announce), output)


@app.command("outbox")
def outbox_command(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL",
            help="A PostgreSQL database for the measurement: rows that wait there are deleted.",
        ),
    ],
    rows: Annotated[int, typer.Option(min=1_000, max=10_000_000)] = 50_000,
    rate: Annotated[float, typer.Option(min=1, max=10_000, help="Commits/s for latency.")] = 200,
    seconds: Seconds = 10,
    output: Output = None,
) -> None:
    """Rows of a PostgreSQL outbox through one publisher: how many, and how soon."""
    options = OutboxOptions(url=url, rows=rows, rate=rate, seconds=seconds)
    _run("outbox", lambda bench, announce: outbox(options, bench, announce), output)


@app.command("upstream")
def upstream_command(
    senders: Annotated[int, typer.Option(min=1, max=10_000, help="Clients that send.")] = 64,
    waiting: Annotated[
        int, typer.Option(min=1, max=10_000, help="Clients that a hanging backend does not answer.")
    ] = 300,
    others: Annotated[int, typer.Option(min=2, max=10_000, help="Clients that get events.")] = 200,
    rate: Annotated[float, typer.Option(min=1, max=1_000, help="Events/s to them.")] = 50,
    seconds: Seconds = 10,
    output: Output = None,
) -> None:
    """Messages to an HTTP backend: how many, and what others feel while it hangs."""
    options = UpstreamOptions(senders, waiting, others, rate, seconds)
    _run("upstream", lambda bench, announce: upstream(options, bench, announce), output)


@app.command("topics")
def topics_command(
    sockets: Annotated[int, Many] = 2_000,
    single: Annotated[int, Many] = 10_000,
    subscribers: Annotated[int, Many] = 1_000,
    returning: Annotated[int, Many] = 5_000,
    texts: Annotated[int, Many] = 500,
    turns: Annotated[int, typer.Option(min=1, max=50, help="Of each side of a ratio.")] = 5,
    seconds: Seconds = 4,
    output: Output = None,
) -> None:
    """Topics on one gateway: deliveries, subscribing, memory, returning clients, growing texts."""
    options = TopicsOptions(
        sockets=sockets,
        single=single,
        subscribers=subscribers,
        returning=returning,
        texts=texts,
        turns=turns,
        seconds=seconds,
    )
    _run("topics", lambda bench, announce: topics(options, bench, announce), output)


@app.command("growth")
def growth_command(
    sockets: Annotated[int, Many] = 20_000,
    gateways: Annotated[int, typer.Option(min=0, max=64, help="0: skip.")] = 8,
    streams: Annotated[int, typer.Option(min=0, max=1_000_000, help="0: skip.")] = 100_000,
    seconds: Seconds = 6,
    output: Output = None,
) -> None:
    """Costs of an event as sockets, gateways and streams grow, up to these sizes."""
    options = GrowthOptions(sockets=sockets, gateways=gateways, streams=streams, seconds=seconds)
    _run("growth", lambda bench, announce: growth(options, bench, announce), output)


@app.command("avalanche")
def avalanche_command(
    connections: Annotated[int, typer.Option(min=100, max=20_000)] = 5_000,
    rate: Annotated[float, typer.Option(min=0.1, max=100, help="Events/s to all.")] = 2,
    pause: Annotated[float, typer.Option(min=0, max=60, help="Clarion's drain: seconds.")] = 5,
    spread: Annotated[float, typer.Option(min=0, max=600, help="Clarion's drain: seconds.")] = 20,
    servers: Annotated[str, typer.Option(help=f"Of {', '.join(POLICIES)}.")] = "clarion,socketio",
    output: Output = None,
) -> None:
    """SIGTERM to a server with thousands of clients: how they come back to another."""
    options = AvalancheOptions(
        servers=_names(servers, POLICIES),
        connections=connections,
        events_per_second=rate,
        pause_seconds=pause,
        spread_seconds=spread,
    )
    _run("avalanche", lambda bench, announce: avalanche(options, bench, announce), output)


@app.command("soak")
def soak_command(
    connections: Annotated[int, typer.Option(min=100, max=60_000)] = 10_000,
    seconds: Annotated[float, typer.Option(min=5, max=86_400)] = 1_200,
    rate: Annotated[float, typer.Option(min=1, max=1_000, help="Events/s, mixed.")] = 10,
    output: Output = None,
) -> None:
    """Many sockets and mixed events on one gateway for a long time: does anything grow?"""
    options = SoakOptions(connections=connections, seconds=seconds, events_per_second=rate)
    _run("soak", lambda bench, announce: soak(options, bench, announce), output)


@app.command("compare")
def compare_command(
    old: Annotated[Path, typer.Argument(help="A checkout of Clarion.")],
    new: Annotated[Path, typer.Argument(help="Another one.")],
    old_python: Annotated[
        Path | None, typer.Option(help="Without: the checkout's .venv, or this Python.")
    ] = None,
    new_python: Annotated[
        Path | None, typer.Option(help="Without: the checkout's .venv, or this Python.")
    ] = None,
    measure: Annotated[str, typer.Option(help=f"Of {', '.join(MEASUREMENTS)}.")] = ",".join(
        MEASUREMENTS
    ),
    turns: Annotated[int, typer.Option(min=3, max=50, help="Of each checkout.")] = 5,
    connections: Annotated[int, typer.Option(min=20, max=60_000)] = 1_000,
    seconds: Seconds = 4,
    output: Output = None,
) -> None:
    """Run two checkouts in turns. The exit code is 1 if something got slower beyond the noise."""

    def measured(bench: Laboratory, announce: Callable[[str], None]) -> Iterable[Comparison]:
        options = CompareOptions(
            old=checkout(old, old_python),
            new=checkout(new, new_python),
            measurements=_names(measure, MEASUREMENTS),
            turns=turns,
            connections=connections,
            seconds=seconds,
        )
        return compare(options, bench, announce)

    report = _run("compare", measured, output)
    if any(comparison.slower for comparison in report.comparisons):
        raise typer.Exit(1)


@app.command("show")
def show_command(results: Annotated[Path, typer.Argument(exists=True, dir_okay=False)]) -> None:
    """Print the tables of earlier results, and draw their plot again beside them."""
    report = read(results)
    _print(report)
    draw(report, [results.with_suffix(".png"), results.with_suffix(".svg")])


def _names(text: str, known: Iterable[str]) -> list[str]:
    """The servers named by an option."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in known]:
        raise typer.BadParameter(f"expected some of {', '.join(known)}, got {unknown[0]}")
    return names


def _run(name: str, measure: Measurement, output: Path | None) -> Report:
    """Run a measurement, print its results, and write them to the output folder, if any."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        with laboratory() as bench, console.status("starting") as status:
            report = _report(bench, measure(bench, status.update))
    except _EXPECTED as error:
        console.print(f"[red]{error}[/red]")
        raise typer.Exit(1) from error
    _print(report)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        write(report, output / f"{name}.json")
        try:
            draw(report, [output / f"{name}.png", output / f"{name}.svg"])
        except ImportError:
            console.print("no plot: it needs matplotlib (`pip install matplotlib`)")
        console.print(f"written to {output}")
    return report


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Raise an exception, which ends every process on its way; ignore further interrupts."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _report(bench: Laboratory, results: Iterable[Result]) -> Report:
    found = list(results)
    return Report(
        describe(bench.broker.url, pinned=bench.cores.pinned),
        idle=_of(Idle, found),
        trials=_of(Trial, found),
        tails=_of(Tail, found),
        publishing=_of(Publishing, found),
        avalanche=_of(Avalanche, found),
        soak=_of(Soak, found),
        outbox=_of(Outbox, found),
        comparisons=_of(Comparison, found),
        upstream=_of(Upstream, found),
        topics=_of(TopicFigure, found),
        growth=Growth(
            sockets=_of(SocketsPoint, found),
            gateways=_of(GatewaysPoint, found),
            streams=_of(StreamsPoint, found),
        ),
    )


def _of(kind: type[Kind], results: Iterable[Result]) -> list[Kind]:
    return [result for result in results if isinstance(result, kind)]


def _print(report: Report) -> None:
    for table in tables(report):
        console.print(table)
    if copied := constants(report.growth):
        console.print("For docs/figures.toml:", style="bold")
        # As it is: brackets are no markup, and a line stays one line.
        console.print(copied, markup=False, highlight=False, soft_wrap=True)
        console.print()
    machine = report.machine
    console.print(
        f"{machine.cpu}, {machine.cores} cores, {machine.kernel}, Python {machine.python}, "
        f"Node {machine.node}, {machine.redis}",
        style="dim",
    )
    if report.disturbed:
        console.print(
            f"[yellow]Other programs used up to {report.others_busy:.0%} of a core meanwhile: "
            "repeat this on a quiet machine.[/yellow]"
        )
