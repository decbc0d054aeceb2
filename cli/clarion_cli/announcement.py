"""The text of `clarion up` once all runs: addresses, tokens, and commands to try."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Group
from rich.text import Text

from clarion_cli.screen import NAME_WIDTH
from clarion_cli.state import Addresses
from clarion_cli.token import DEFAULT_EXPIRES_SECONDS, SCOPES, Signer

_STATEMENTS: Final = (
    (
        "SELECT clarion_publish('user:alice', 'order.updated', jsonb_build_object('id', 42))",
        "publish one event to alice, by a commit",
    ),
    (
        "BEGIN; SELECT clarion_publish('all', 'tick'); ROLLBACK",
        "publish nothing, by a rollback",
    ),
    (
        "INSERT INTO clarion_outbox (audience, type, data) VALUES ('all', 'tick', '2')",
        "publish by a plain INSERT, as any library makes it",
    ),
)


def describe_stack(
    addresses: Addresses, signer: Signer, handlers: str | None = None
) -> tuple[dict[str, object], Group]:
    """Addresses, tokens and commands to try, as a record and as text.

    Args:
        handlers: that the gateways have mounted; None: none.
    """
    tokens = {
        user: signer.sign(user, expires_seconds=DEFAULT_EXPIRES_SECONDS)
        for user in ("alice", "bob")
    }
    tokens["publisher"] = signer.sign(
        "publisher", scope=" ".join(SCOPES), expires_seconds=DEFAULT_EXPIRES_SECONDS
    )
    record: dict[str, object] = {
        "kind": "up",
        **msgspec.structs.asdict(addresses),
        "handlers": handlers,
        "tokens": tokens,
    }
    clarion = _command_name()
    last = addresses.gateways[-1]
    commands: tuple[tuple[str, str], ...] = (
        (f"{clarion} tail --user alice", "print what alice receives"),
        (
            f"{clarion} publish --to user:alice order.updated '{{\"id\": 42}}'",
            "publish one event to alice",
        ),
        (f"curl -N {last.rstrip('/')}/sse", "print what an anonymous page receives"),
    )
    if addresses.outbox is not None:
        commands += tuple((f'psql {addresses.outbox} -c "{sql}"', why) for sql, why in _STATEMENTS)
    pages = [(f"gateway-{number}", url) for number, url in enumerate(addresses.gateways, start=1)]
    return record, Group(
        Text.assemble("\n", ("Clarion is up.", "bold"), (" Ctrl-C stops it.", "dim"), "\n"),
        Text("pages to open in a browser", style="bold"),
        *(_row(name, url, "bold cyan") for name, url in pages),
        Text("\nhandlers that answer pages", style="bold"),
        _row("mounted", handlers or "none", "bold cyan"),
        _row("described", f"{addresses.gateways[0].rstrip('/')}/asyncapi.json", "bold cyan"),
        Text("\nto publish over HTTP", style="bold"),
        _row("publisher", f"{addresses.publisher}/v1/events", "bold cyan"),
        _row("API page", f"{addresses.publisher}/docs", "bold cyan"),
        *([] if addresses.outbox is None else [_row("outbox", addresses.outbox, "bold cyan")]),
        Text("\ntokens, for 24 hours", style="bold"),
        *(_row(name, token) for name, token in tokens.items()),
        Text("\nto try in another terminal", style="bold"),
        *(Text.assemble((f"  # {why}\n", "dim"), f"  {command}") for command, why in commands),
        Text(""),
    )


def _row(name: str, value: str, style: str = "") -> Text:
    return Text.assemble((f"  {name:<{NAME_WIDTH}}  ", "dim"), (value, style))


def _command_name() -> str:
    """The command line that runs this command in the current shell."""
    here = Path(sys.argv[0]).absolute()
    found = shutil.which("clarion")
    if found and Path(found).absolute() == here:
        return "clarion"
    return str(here.relative_to(Path.cwd())) if here.is_relative_to(Path.cwd()) else "clarion"
