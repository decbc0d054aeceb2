"""The growth curves on a terminal: a table for each, and the constants for docs/figures.toml."""

from collections.abc import Iterator, Sequence

from rich.table import Table

from clarion_bench.growth_points import GatewaysPoint, Growth, SocketsPoint, StreamsPoint
from clarion_bench.sheet import busy_text, milliseconds, new_table


def growth_tables(growth: Growth) -> list[Table]:
    """Return one table per curve that has points."""
    made = []
    if growth.sockets:
        made.append(_sockets(growth.sockets))
    if growth.gateways:
        made.append(_gateways(growth.gateways))
    if growth.streams:
        made.append(_streams(growth.streams))
    return made


def constants(growth: Growth) -> str:
    """Return the curves as the table `growth` of docs/figures.toml; empty without points."""
    lines = list(_constants(growth))
    return "\n".join(["[growth]", *lines]) if lines else ""


def _constants(growth: Growth) -> Iterator[str]:
    """Each curve as pairs of size and value, which docs/capacity.py reads."""
    if sockets := growth.sockets:
        yield _pairs("delivery_us", [(p.sockets, p.cpu_us_per_delivery, 2) for p in sockets])
        yield _pairs(
            "socket_bytes", [(p.sockets, p.kilobytes_per_socket * 1024, 0) for p in sockets]
        )
    if gateways := growth.gateways:
        yield _pairs("redis_single_us", [(p.gateways, p.redis_us, 1) for p in gateways])
        yield _pairs("redis_batched_us", [(p.gateways, p.redis_batched_us, 1) for p in gateways])
        yield _pairs("gateway_us", [(p.gateways, p.pod_us, 0) for p in gateways])
    if streams := growth.streams:
        yield _pairs("stream_bytes", [(p.streams, p.bytes_per_stream, 0) for p in streams])
        yield _pairs("targeted_us", [(p.streams, p.gateway_us, 1) for p in streams])


def _pairs(name: str, points: Sequence[tuple[int, float, int]]) -> str:
    pairs = [f"[{size:_}, {f'{value:.{digits}f}'}]" for size, value, digits in points]
    return f"{name} = [{', '.join(pairs)}]"


def _sockets(points: Sequence[SocketsPoint]) -> Table:
    title = f"Sockets on one gateway, {points[0].events_per_second:g} events/s to all"
    if capped := [point for point in points if point.sockets < point.asked]:
        title += (
            f";\n{capped[-1].sockets:,} instead of {capped[-1].asked:,}: "
            "a process may not open more files"
        )
    columns = ["sockets", "deliveries\n/s", "CPU µs\neach", "p99\nms", "idle CPU\nms/s", "KB\neach"]
    table = new_table(title, columns)
    for point in points:
        table.add_row(
            f"{point.sockets:,}",
            f"{point.deliveries_per_second:,.0f}",
            f"{point.cpu_us_per_delivery:.2f}",
            milliseconds(point.p99_ms),
            f"{point.idle_cpu_ms_per_second:.1f}",
            f"{point.kilobytes_per_socket:.2f}",
            busy_text(point.busy),
        )
    return table


def _gateways(points: Sequence[GatewaysPoint]) -> Table:
    title = (
        f"Gateways on one Redis, {points[0].sockets_each} sockets each, "
        f"{points[0].events_per_second:g} events/s to all:\nCPU µs per event, or per delivery"
    )
    columns = ["gateways", "Redis", "in batches", "publisher", "a gateway", "a delivery"]
    table = new_table(title, columns)
    for point in points:
        table.add_row(
            f"{point.gateways}",
            f"{point.redis_us:.1f}",
            f"{point.redis_batched_us:.1f}",
            f"{point.publishing_us:.0f}",
            f"{point.pod_us:.0f}",
            f"{point.pod_us_per_delivery:.2f}",
            busy_text(point.busy),
        )
    return table


def _streams(points: Sequence[StreamsPoint]) -> Table:
    title = (
        f"Users' streams in Redis, {points[0].events_per_second:g} events/s to single users with a "
        "socket:\nbytes of Redis for each stream, CPU µs per event"
    )
    columns = ["streams", "subscribed", "bytes each", "gateway", "Redis"]
    table = new_table(title, columns)
    for point in points:
        table.add_row(
            f"{point.streams:,}",
            f"{point.subscribed:,}",
            f"{point.bytes_per_stream:,.0f}",
            f"{point.gateway_us:.1f}",
            f"{point.redis_us:.1f}",
            busy_text(point.busy),
        )
    return table
