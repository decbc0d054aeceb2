"""`clarion check`: says everything that is wrong or doubtful about a configuration, at once."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import msgspec
import structlog
import typer
from rich.text import Text

from clarion_cli.checks.configuration import (
    SERVICES,
    UNKNOWN_OUTBOX,
    UNKNOWN_REDIS,
    Environment,
    as_environment,
    of_dotenv,
    of_values,
)
from clarion_cli.checks.finding import Finding, Level, doubtful
from clarion_cli.failure import ExitCode, Failure
from clarion_cli.output import JsonOption, Output
from clarion_contract.service.settings import ContractSettings

_COLOURS: Final = {Level.ERROR: "bold red", Level.WARNING: "yellow", Level.OK: "green"}


class Service(StrEnum):
    """The service whose settings are checked."""

    GATEWAY = "gateway"
    PUBLISHER = "publisher"
    BOTH = "both"


def check(
    env_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Check a file of NAME=value lines, not the environment."),
    ] = None,
    values: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Check values of the chart, not the environment."),
    ] = None,
    service: Annotated[
        Service, typer.Option(help="Whose settings to check.", case_sensitive=False)
    ] = Service.BOTH,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline",
            help="Do not try Redis, the outbox, producers' Redis and the issuer's keys.",
        ),
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="End with an error for warnings, too.")
    ] = False,
    json_: JsonOption = None,
) -> int:
    """Check a configuration: settings, Redis, the outbox, producers and the issuer's keys.

    Reads the environment, unless --env-file or --values names a file. Reports everything that is
    wrong or doubtful, and tries Redis: version, rights, eviction, persistence, cluster or not.

    The exit code is that of the first error in the report.
    """
    _silence()
    environments = _configuration(env_file, values)
    chosen = SERVICES if service is Service.BOTH else (service.value,)
    here = env_file is None and values is None
    output = Output(json_)
    found = asyncio.run(
        _report(output, {name: environments[name] for name in chosen}, here=here, offline=offline)
    )
    return _sum_up(output, found, strict=strict)


def _silence() -> None:
    """Keep what is tried from logging among the results, which tell the same."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def _configuration(env_file: Path | None, values: Path | None) -> dict[str, Environment]:
    if env_file is not None and values is not None:
        raise Failure("expected --env-file or --values, got both", ExitCode.USAGE)
    if env_file is not None:
        return of_dotenv(env_file)
    if values is not None:
        return of_values(values)
    variables = dict(os.environ)
    return dict.fromkeys(SERVICES, variables)


async def _report(
    output: Output, environments: Mapping[str, Environment], *, here: bool, offline: bool
) -> list[Finding]:
    """Print each finding once, and return all."""
    found: dict[tuple[str, str], Finding] = {}
    async for finding in _findings(environments, here=here, offline=offline):
        same = (finding.about, finding.message)
        if same not in found:
            found[same] = finding
            _print(output, finding)
    return list(found.values())


async def _findings(
    environments: Mapping[str, Environment], *, here: bool, offline: bool
) -> AsyncIterator[Finding]:
    loaded: dict[str, ContractSettings] = {}
    tried: set[str] = set()
    for finding in _merged(_settings(environments, loaded, here=here)):
        yield finding
    for name, settings in loaded.items():
        same = repr([getattr(settings, field) for field in ContractSettings.model_fields])
        if not offline and same not in tried:
            tried.add(same)
            with as_environment(environments[name]):
                async for finding in _servers(settings):
                    yield finding
        if not offline and (address := getattr(settings, "outbox_address", None)):
            async for finding in _outbox(address):
                yield finding
        if not offline and getattr(settings, "socketio_redis_url", None):
            async for finding in _producers(settings):
                yield finding


def _settings(
    environments: Mapping[str, Environment], loaded: dict[str, ContractSettings], *, here: bool
) -> Iterator[Finding]:
    """Report wrong and doubtful settings; put those that can be loaded into ``loaded``."""
    from clarion_cli.checks import settings as checks  # noqa: PLC0415 - imports both services

    for environment in {id(each): each for each in environments.values()}.values():
        names = tuple(name for name in environments if environments[name] is environment)
        yield from checks.check_variables(environment, names)
    for name, environment in environments.items():
        settings, errors = checks.load_settings(name, environment)
        yield from errors
        if settings is not None:
            loaded[name] = settings
            yield from checks.doubts(name, settings, here=here)
            if here:
                yield from checks.check_handlers(settings)
    yield from checks.differences(loaded)


def _merged(findings: Iterable[Finding]) -> Iterable[Finding]:
    """The same of both services as one."""
    merged: dict[tuple[str, str], Finding] = {}
    for each in findings:
        same = merged.setdefault((each.about, each.message), each)
        services = tuple(dict.fromkeys((*same.services, *each.services)))
        merged[each.about, each.message] = msgspec.structs.replace(same, services=services)
    return merged.values()


async def _servers(settings: ContractSettings) -> AsyncIterator[Finding]:
    from clarion_cli.checks.keys import check_keys  # noqa: PLC0415 - slow, and not offline
    from clarion_cli.checks.redis import check_redis  # noqa: PLC0415

    if settings.redis_url == UNKNOWN_REDIS:
        yield doubtful("CLARION_REDIS_URL", "not tried: only the cluster knows its Redis")
    else:
        async for finding in check_redis(settings):
            yield finding
    async for finding in check_keys(settings):
        yield finding


async def _outbox(address: str) -> AsyncIterator[Finding]:
    from clarion_cli.checks.outbox import check_outbox  # noqa: PLC0415 - slow, and not offline

    if address == UNKNOWN_OUTBOX:
        yield doubtful("PUBLISHER_OUTBOX_URL", "not tried: only the cluster knows its database")
        return
    async for finding in check_outbox(address):
        yield finding


async def _producers(settings: ContractSettings) -> AsyncIterator[Finding]:
    from clarion_cli.checks.producers import check_producers  # noqa: PLC0415 - slow, not offline
    from clarion_publisher.settings import PublisherSettings  # noqa: PLC0415

    if not isinstance(settings, PublisherSettings) or settings.socketio_redis_url is None:
        return
    if settings.socketio_redis_url == UNKNOWN_REDIS:
        yield doubtful("PUBLISHER_SOCKETIO_REDIS_URL", "not tried: only the cluster knows its URL")
        return
    async for finding in check_producers(settings, settings.socketio_redis_url):
        yield finding


def _print(output: Output, finding: Finding) -> None:
    services = f" ({', '.join(finding.services)})" if len(finding.services) == 1 else ""
    text = Text.assemble(
        (f"{finding.level.value:<8}", _COLOURS[finding.level]),
        (finding.about, "bold"),
        f"{services}: {finding.message}",
    )
    record = {"kind": "finding", **msgspec.structs.asdict(finding)}
    del record["code"]
    output.result(record, text)


def _sum_up(output: Output, found: Sequence[Finding], *, strict: bool) -> ExitCode:
    errors = [each for each in found if each.level is Level.ERROR]
    warnings = [each for each in found if each.level is Level.WARNING]
    code = errors[0].code if errors else ExitCode.DONE
    if strict and warnings and not errors:
        code = ExitCode.FAILED
    record = {
        "kind": "checked",
        "errors": len(errors),
        "warnings": len(warnings),
        "exit_code": int(code),
    }
    output.result(record, Text(f"{_count(errors, 'error')}, {_count(warnings, 'warning')}"))
    return code


def _count(found: Sequence[Finding], noun: str) -> str:
    return f"{len(found)} {noun}{'' if len(found) == 1 else 's'}"
