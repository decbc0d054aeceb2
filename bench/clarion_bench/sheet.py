"""The look of all tables: their frame, and cells that several of them have."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from clarion_bench.busy import Busy

_BUSY = "busy %"


def busy_text(busy: Busy) -> str:
    """Show the load of a core in percent: by the server, the load client and other programs."""
    return "/".join(f"{share * 100:.0f}" for share in (busy.server, busy.client, busy.others))


def new_table(title: str, columns: Sequence[str], *, busy: bool = True) -> Table:
    """Return an empty table; `busy` adds a column for `busy_text`."""
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        caption=f"{_BUSY}: of a core, by server/load/other programs" if busy else None,
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column(columns[0], no_wrap=True)
    for column in [*columns[1:], *([_BUSY] if busy else [])]:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def milliseconds(value: float) -> str:
    """Show a time with one digit after the point, or with none above 100."""
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"
