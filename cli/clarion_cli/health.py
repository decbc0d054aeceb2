"""`clarion health`: what one pod says about itself on its internal port."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

import httpx
import typer
from rich.console import Group, RenderableType
from rich.text import Text

from clarion_cli.address import authority, loopback, service_url
from clarion_cli.failure import ExitCode, Failure
from clarion_cli.output import JsonOption, Output

_SECONDS: Final = 5.0
_DEFAULT_PORT: Final = 9090
_EVERY_ADDRESS: Final = ("", "::", "0.0.0.0")  # noqa: S104 - compared, not bound


def health(
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Address of the internal port. Default: this pod's.",
            show_default=False,
        ),
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Print settings that have their default, too.")
    ] = False,
    json_: JsonOption = None,
) -> int:
    """Show whether a gateway or publisher is ready, why not, and its settings without secrets.

    In Kubernetes: `kubectl exec deploy/clarion-gateway -- clarion health`. The exit code is 5 if
    the pod is not ready.
    """
    base = service_url(url) if url else own_url(os.environ)
    with httpx.Client(trust_env=False, timeout=_SECONDS) as client:
        ready = _get(client, f"{base}/readyz")
        about = _get(client, f"{base}/settings")
    settings = {
        name: setting["value"]
        for name, setting in about["settings"].items()
        if all_ or not setting["default"]
    }
    record = {
        "kind": "health",
        "service": about["service"],
        "version": about["version"],
        "pod": about["pod"],
        "ready": ready["ready"],
        "reasons": ready["reasons"],
        "warnings": ready.get("warnings", []),
        "settings": settings,
    }
    Output(json_).result(record, _described(record))
    return ExitCode.DONE if ready["ready"] else ExitCode.UNAVAILABLE


def own_url(environment: Mapping[str, str]) -> str:
    """The internal port of the service whose environment this is."""
    for service in ("GATEWAY", "PUBLISHER"):
        if port := environment.get(f"{service}_INTERNAL_PORT"):
            host = environment.get(f"{service}_INTERNAL_HOST", "")
            break
    else:
        port, host = str(_DEFAULT_PORT), ""
    if not port.isdecimal():
        raise Failure(f"expected a port in {service}_INTERNAL_PORT, got {port!r}", ExitCode.USAGE)
    return f"http://{authority(loopback() if host in _EVERY_ADDRESS else host, int(port))}"


def _get(client: httpx.Client, url: str) -> Any:  # noqa: ANN401 - JSON
    try:
        return client.get(url).json()
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise Failure(f"nothing answers at {url}: {reason}", ExitCode.UNREACHABLE) from None
    except ValueError:
        raise Failure(f"{url} is no internal port of Clarion", ExitCode.UNREACHABLE) from None


def _described(record: Mapping[str, Any]) -> RenderableType:
    state = ("ready", "green") if record["ready"] else ("not ready", "bold red")
    headline = Text.assemble(
        (record["pod"], "bold"), f" ({record['service']} {record['version']}) is ", state
    )
    return Group(headline, *_lines(record))


def _lines(record: Mapping[str, Any]) -> Iterator[Text]:
    for reason in record["reasons"]:
        yield Text.assemble(("  because  ", "red"), reason)
    for warning in record["warnings"]:
        yield Text.assemble(("  warning  ", "yellow"), warning)
    for name, value in record["settings"].items():
        shown = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        yield Text.assemble(("  ", ""), (f"{name}=", "dim"), shown)
