"""The backends of docs/issuing-tokens.md: a gateway takes the tokens that they sign."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import jwt
import pytest

from clarion.client import Client, Open, Refresh
from tests.cli.clarion import ROOT, SECRET
from tests.contract.identity.issuer import serving as serving_issuer
from tests.contract.identity.test_providers import CASES, signed
from tests.e2e.backend import serving
from tests.e2e.pages import SECONDS, blocks, files
from tests.e2e.ports import free_port
from tests.processes import running

BLOCKS = blocks((ROOT / "docs" / "issuing-tokens.md").read_text())
FILES = files(BLOCKS)
COOKIE = {"session": "a-secret-cookie"}
PROVIDERS = {
    name: case
    for name, case in CASES.items()
    if name.startswith(("Auth0, a user", "Keycloak, r", "Entra ID, a user", "Cognito", "Firebase"))
}

pytestmark = pytest.mark.timeout(2 * SECONDS)


def commands(start: str) -> str:
    (found,) = (text for language, text in BLOCKS if language == "sh" and text.startswith(start))
    return found


def ran(script: str, folder: Path) -> None:
    """Run commands of the page to their end."""
    done = subprocess.run(
        ["bash", "-ec", script],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def endpoint(command: list[str], folder: Path, port: int, **env: str) -> Iterator[str]:
    """A backend of the page; yields the URL of its endpoint, which asks to log in first."""
    url = f"http://127.0.0.1:{port}/clarion-token"
    with serving(command, folder, {**os.environ, "PORT": str(port), **env}, url, status=401):
        yield url


def fetched(url: str) -> str:
    answer = httpx.get(url, cookies=COOKIE, trust_env=False)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"].startswith("text/plain")
    return answer.text


async def opened(url: str, token: str) -> Open:
    """The state of a client of the gateway with that token."""
    async with asyncio.timeout(SECONDS), Client(url, get_token=lambda _: token) as client:
        assert isinstance(await anext(aiter(client)), Refresh)
        assert isinstance(client.status, Open)
        return client.status


async def taken(url: str, token: str) -> None:
    status = await opened(url, token)
    assert (status.user, status.topics) == ("alice", ("news",))


def uvicorn(folder: Path, source: str) -> tuple[list[str], int]:
    (folder / "tokens.py").write_text(source)
    port = free_port()
    return [sys.executable, "-m", "uvicorn", "tokens:app", "--port", str(port)], port


async def test_the_token_of_the_fastapi_backend(tmp_path: Path, redis_url: str) -> None:
    command, port = uvicorn(tmp_path, FILES["tokens.py"])
    with (
        endpoint(command, tmp_path, port, CLARION_JWT_SECRET=SECRET) as url,
        running("gateway", tmp_path, redis_url, CLARION_JWT_SECRET=SECRET) as gateway,
    ):
        token = fetched(url)
        await taken(gateway.url, token)
    claims = jwt.decode(token, SECRET, algorithms=["HS256"])
    assert claims["exp"] - claims["iat"] <= 600
    assert claims["subscribe"] == ["room.*"]


async def test_with_a_pair_of_keys(tmp_path: Path, redis_url: str) -> None:
    """The changes that the page names."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    ran(commands("openssl"), tmp_path)
    source = FILES["tokens.py"].replace("HS256", "ES256")
    command, port = uvicorn(tmp_path, source)
    private = (tmp_path / "clarion-private.pem").read_text()
    public = str(tmp_path / "clarion-public.pem")
    keys = {"CLARION_JWT_SECRET": "", "CLARION_JWT_PUBLIC_KEY": public}
    with (
        endpoint(command, tmp_path, port, CLARION_JWT_SECRET=private) as url,
        running("gateway", tmp_path, redis_url, **keys) as gateway,
    ):
        await taken(gateway.url, fetched(url))


async def test_the_token_of_the_express_backend(tmp_path: Path, redis_url: str) -> None:
    if shutil.which("npm") is None:
        pytest.skip("needs Node 20 or newer and npm on PATH")
    ran(commands("npm install"), tmp_path)
    (tmp_path / "tokens.mjs").write_text(FILES["tokens.mjs"])
    with (
        endpoint(["node", "tokens.mjs"], tmp_path, free_port(), CLARION_JWT_SECRET=SECRET) as url,
        running("gateway", tmp_path, redis_url, CLARION_JWT_SECRET=SECRET) as gateway,
    ):
        await taken(gateway.url, fetched(url))


@pytest.mark.parametrize("name", PROVIDERS)
async def test_a_gateway_takes_a_providers_token(name: str, tmp_path: Path, redis_url: str) -> None:
    """Its shape is that of the provider's documentation; the settings are those of identity.md."""
    case = PROVIDERS[name]
    given = {f"CLARION_{key.upper()}": value for key, value in case.settings.items()}
    with serving_issuer() as issuer:
        issuer.body = httpx.Response(200, json=case.keys).content
        keys = {"CLARION_JWT_SECRET": "", "CLARION_JWT_JWKS_URL": issuer.url}
        with running("gateway", tmp_path, redis_url, **keys, **given) as gateway:
            assert (await opened(gateway.url, signed(case))).user == case.subject
