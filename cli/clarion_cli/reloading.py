"""Restarts the gateways when the application's code changes: `clarion up --reload`."""

from __future__ import annotations

from collections.abc import Callable, Collection
from importlib.util import find_spec
from pathlib import Path

from clarion_cli.failure import ExitCode, Failure
from clarion_cli.service import StartFailure
from clarion_cli.stack import Stack


def check_reload(handlers: str) -> None:
    """Return if the handlers can be watched.

    Raises:
        Failure: there are none, or the package that watches files is missing.
    """
    if not handlers:
        raise Failure("--reload needs --handlers MODULE:NAME", ExitCode.USAGE)
    if find_spec("watchfiles") is None:
        raise Failure(
            "--reload needs the package watchfiles: pip install watchfiles",
            ExitCode.SETUP,
        )


def watched_folders(handlers: str, here: Path) -> list[Path]:
    """The folders whose Python files belong to the application: this one, and its package's."""
    folders = [here]
    spec = find_spec(handlers.partition(":")[0].partition(".")[0])
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent
        if not folder.is_relative_to(here):
            folders.append(folder)
    return folders


async def reload_on_changes(
    stack: Stack,
    folders: Collection[Path],
    *,
    changed: Callable[[Collection[str]], None],
    failed: Callable[[str], None],
) -> None:
    """Restart the gateways at each change, one after the other, until cancelled.

    Args:
        changed: is told of the files before a restart.
        failed: is told why new code does not start. The gateways that still run go on with the old
            code, and the next change tries again.
    """
    from watchfiles import PythonFilter, awatch  # noqa: PLC0415 - of an extra

    async for changes in awatch(*folders, watch_filter=PythonFilter()):
        changed(sorted({_short(path) for _, path in changes}))
        try:
            await stack.restart_gateways()
        except StartFailure as failure:
            failed(str(failure))


def _short(path: str) -> str:
    """A path as one writes it in the current folder."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path
