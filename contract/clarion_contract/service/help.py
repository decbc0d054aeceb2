"""The answer of a service that is started with arguments: `python -m clarion_gateway --help`.

The services take no arguments; every setting comes from the environment. Any argument is therefore
a request for help or a mistake, and the service must not start.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Sequence
from typing import Final

from pydantic.fields import FieldInfo

from clarion_contract.service.settings import ContractSettings, variable

_USAGE: Final = 2
_WIDTH: Final = 96
_INDENT: Final = "      "

_REMARKS: Final = """\
One of CLARION_JWT_SECRET, CLARION_JWT_PUBLIC_KEY and CLARION_JWT_JWKS_URL is required, and only
one may be set. SIGTERM drains the service and ends it.
Exit codes: 0 done, 1 port in use, 2 bad settings, 3 a job that does not run.

docs/settings.md says when to change a setting. It also names the OTEL_* variables for traces.
To try everything on this machine, run `clarion up`."""


def answer(service: str, about: str, cls: type[ContractSettings], arguments: Sequence[str]) -> int:
    """Answer the arguments of a service.

    Args:
        about: a description of the service in one or two sentences.
        arguments: one or more.

    Returns:
        The exit code: 0 after help, 2 for anything else.
    """
    if arguments[0] in {"-h", "--help"}:
        try:
            print(help_text(about, cls), flush=True)
        except BrokenPipeError:
            # `| head` closed the pipe, and the flush at exit would complain about it as well.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    print(
        f"{service}: expected no arguments, got {arguments[0]!r}; settings come from the "
        f"environment (see `{_command(cls)} --help`)",
        file=sys.stderr,
    )
    return _USAGE


def help_text(about: str, cls: type[ContractSettings]) -> str:
    """A description of the service, how to start it, and every variable that it reads."""
    settings = [
        line for name, field in cls.model_fields.items() for line in _lines(cls, name, field)
    ]
    return "\n".join(
        (
            f"Usage: {_command(cls)}",
            "",
            textwrap.fill(about, _WIDTH),
            "",
            "It takes no arguments. Settings come from these environment variables:",
            "",
            *settings,
            "",
            _REMARKS,
        )
    )


def _lines(cls: type[ContractSettings], name: str, field: FieldInfo) -> list[str]:
    default = "" if field.default_factory or field.default in {None, ()} else f"={field.default}"
    described = textwrap.wrap(
        field.description or "", _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT
    )
    return [f"  {variable(cls, name)}{default}", *described]


def _command(cls: type[ContractSettings]) -> str:
    return f"python -m {cls.__module__.partition('.')[0]}"
