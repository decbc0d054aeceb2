"""The issuer's keys: whether the JWKS URL answers with keys that Clarion can use."""

from __future__ import annotations

from collections.abc import AsyncIterator

from clarion_cli.checks.finding import Finding, works, wrong
from clarion_cli.failure import ExitCode
from clarion_contract.events.errors import KeysUnavailable
from clarion_contract.identity.jwks import JwksKeys
from clarion_contract.identity.tokens import algorithms_of
from clarion_contract.service.settings import ContractSettings

_URL = "CLARION_JWT_JWKS_URL"


async def check_keys(settings: ContractSettings) -> AsyncIterator[Finding]:
    """Fetch the keys once, as a service does at its start."""
    url = settings.jwt_jwks_url
    if url is None:
        return
    keys = JwksKeys(url)
    try:
        await keys.refresh()
    except KeysUnavailable as error:
        yield wrong(_URL, f"no keys: {keys.failure or error}", code=ExitCode.UNREACHABLE)
        return
    finally:
        await keys.aclose()
    algorithms = ", ".join(algorithms_of(settings))
    if not keys.known:
        yield wrong(_URL, f"none of its keys fits {algorithms}", code=ExitCode.SETUP)
        return
    yield works(_URL, f"it has keys; tokens may be signed with {algorithms}")
