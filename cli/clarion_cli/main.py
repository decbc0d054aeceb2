"""The command `clarion` and the one place where its errors become a line and an exit code."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer
from typer.exceptions import TyperException

from clarion_cli.bench import bench
from clarion_cli.failure import Failure
from clarion_cli.output import print_error
from clarion_cli.publish import publish
from clarion_cli.tail import tail
from clarion_cli.token import token
from clarion_cli.up import up
from clarion_cli.users import connections, disconnect, users

INTERRUPTED = 130  # 128 + SIGINT, as shells report it

app = typer.Typer(
    name="clarion",
    help="Real-time events on every open browser and app.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(up)
app.command()(token)
app.command()(publish)
app.command()(tail)
app.command()(users)
app.command()(connections)
app.command()(disconnect)
app.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)(bench)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", show_default=False)
    ] = False,
) -> None:
    """Real-time events on every open browser and app."""
    if version:
        from importlib.metadata import version as version_of  # noqa: PLC0415 - slow, rarely asked

        typer.echo(version_of("clarion"))
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Run the command line; never show a traceback for what a person can act on."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; returns its exit code."""
    try:
        code = app(arguments, prog_name="clarion", standalone_mode=False)
    except Failure as failure:
        print_error(str(failure))
        return failure.exit_code
    except TyperException as error:
        print_error(_usage_error(error))
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has had enough (`| head`); nor may the flush at exit complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code if isinstance(code, int) else 0


def _usage_error(error: TyperException) -> str:
    message = error.format_message().rstrip(".")
    message = message[:1].lower() + message[1:]
    context = getattr(error, "ctx", None)
    return f"{message} (see `{context.command_path} --help`)" if context else message
