"""The command `clarion`, and the one place where errors become a line and an exit code."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer
from typer.exceptions import TyperException

from clarion_cli.asyncapi import asyncapi
from clarion_cli.bench import bench
from clarion_cli.check import check
from clarion_cli.conformance.command import conformance
from clarion_cli.events import events
from clarion_cli.failure import ExitCode, Failure
from clarion_cli.health import health
from clarion_cli.kill import kill
from clarion_cli.outbox import app as outbox
from clarion_cli.outbox import embedded_by_default
from clarion_cli.output import print_error
from clarion_cli.publish import publish
from clarion_cli.send import send
from clarion_cli.tail import tail
from clarion_cli.token import token
from clarion_cli.typescript.command import types
from clarion_cli.up import up
from clarion_cli.users import connections, disconnect, topics, users

_EXIT_CODES = "\n".join(f"  {code.value:>3}  {code.meaning}" for code in ExitCode)

app = typer.Typer(
    name="clarion",
    # Plain text is also readable in pipes and logs, and half as long as text with boxes.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"\b\nExit codes:\n{_EXIT_CODES}",
)
app.command()(up)
app.command()(kill)
app.command()(token)
app.command()(publish)
app.command()(send)
app.command()(tail)
app.command()(users)
app.command()(connections)
app.command()(disconnect)
app.command()(topics)
app.command()(check)
app.command()(conformance)
app.command()(events)
app.command()(asyncapi)
app.command()(types)
app.command()(health)
app.add_typer(outbox)
app.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)(bench)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", show_default=False)
    ] = False,
) -> None:
    """Real-time events for every open browser and app.

    Start with `clarion up`. It runs Clarion on this machine and prints what to try next.
    """
    if version:
        from importlib.metadata import version as version_of  # noqa: PLC0415 - slow, rarely asked

        typer.echo(version_of("clarion"))
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Run the command line. Failures that the user can act on show no traceback."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; return its exit code (`ExitCode`)."""
    try:
        code = app(embedded_by_default(arguments), prog_name="clarion", standalone_mode=False)
    except Failure as failure:
        print_error(str(failure))
        return failure.code
    except TyperException as error:
        print_error(_usage_error(error))
        return error.exit_code
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except SystemExit as end:
        # Typer turns a broken pipe into exit code 1, which means a failure here.
        if not isinstance(end.__context__, BrokenPipeError):
            raise
        # The flush at exit would complain about the closed pipe, too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.READER_LEFT
    return code if isinstance(code, int) else ExitCode.DONE


def _usage_error(error: TyperException) -> str:
    message = error.format_message().rstrip(".").replace("Value error, ", "")  # of pydantic
    message = message[:1].lower() + message[1:]
    context = getattr(error, "ctx", None)
    return f"{message} (see `{context.command_path} --help`)" if context else message
