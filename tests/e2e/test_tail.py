"""`clarion tail` and `clarion publish` against real services."""

from __future__ import annotations

import asyncio
import json
import subprocess
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from clarion_cli.failure import ExitCode
from tests.cli.clarion import SECRET, Clarion, command, environment
from tests.e2e.stack import Stack

SECONDS = 20


@asynccontextmanager
async def tail(folder: Path, *arguments: str, **changes: str) -> AsyncIterator[Process]:
    """`clarion tail`, connected."""
    process = await asyncio.create_subprocess_exec(
        *command("tail", *arguments),
        cwd=folder,
        env=environment(CLARION_JWT_SECRET=SECRET, **changes),
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        await notice(process, "connected to")
        yield process
    finally:
        process.kill()
        await process.communicate()


async def notice(process: Process, start: str) -> str:
    assert process.stderr is not None
    while True:
        line = (await asyncio.wait_for(process.stderr.readline(), SECONDS)).decode().strip()
        assert line, "tail ended"
        if line.startswith(start):
            return line


async def event(process: Process) -> dict[str, object]:
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), SECONDS)
    fields: dict[str, object] = json.loads(line)
    return fields


async def publish(stack: Stack, clarion: Clarion, *arguments: str) -> dict[str, object]:
    completed = await asyncio.to_thread(
        clarion.run,
        "publish",
        *arguments,
        "--publisher-url",
        stack.publisher.url,
        CLARION_JWT_SECRET=SECRET,
    )
    assert completed.stderr == ""
    answer: dict[str, object] = json.loads(completed.stdout)
    return answer


async def test_prints_what_the_user_may_see_one_json_line_each(
    stack: Stack, tmp_path: Path
) -> None:
    clarion = Clarion(tmp_path)
    urls = ("--url", stack.gateways[0].url)
    async with tail(tmp_path, "--user", "zoe", *urls) as process:
        await publish(stack, clarion, "--to", "user:bob", "not.hers", "1")
        answer = await publish(stack, clarion, "--to", "user:zoe", "hers", '{"price": 1.10}')
        assert answer["duplicate"] is False
        got = await event(process)
    assert (got["id"], got["audience"], got["type"]) == (answer["id"], "user", "hers")


async def test_publishes_a_key_once(stack: Stack, tmp_path: Path) -> None:
    clarion = Clarion(tmp_path)
    arguments = ("--to", "user:nobody", "a.b", "1", "--key", tmp_path.name)
    first = await publish(stack, clarion, *arguments)
    again = await publish(stack, clarion, *arguments)
    assert again == {"id": first["id"], "duplicate": True, "gateways": again["gateways"]}


async def test_goes_on_at_the_other_gateway_without_missing_an_event(
    own_stack: Stack, tmp_path: Path
) -> None:
    leaving, staying = own_stack.gateways
    async with tail(tmp_path, "--url", leaving.url, "--url", staying.url) as process:
        before = await own_stack.publish("all", "before")
        assert (await event(process))["id"] == before
        leaving.terminate()
        await notice(process, "1012")
        meanwhile = await own_stack.publish("all", "meanwhile")
        assert await notice(process, "connected") == (
            "connected to gateway-2 as anonymous, resumed"
        )
        assert (await event(process))["id"] == meanwhile


async def test_says_when_the_past_cannot_be_had(stack: Stack, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *command("tail", "--since", "1", "--quiet", "--url", stack.gateways[0].url),
        cwd=tmp_path,
        env=environment(),
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        said = await notice(process, "connected")
    finally:
        process.kill()
        await process.communicate()
    assert said.endswith("NOT resumed: events may be missing")


@pytest.mark.parametrize("token", ["nonsense", "a.b.c"])
def test_ends_when_its_token_is_refused(stack: Stack, tmp_path: Path, token: str) -> None:
    said = Clarion(tmp_path).fails(
        "tail", "--quiet", "--url", stack.gateways[0].url, CLARION_TOKEN=token
    )
    assert "4401" in said


def test_a_reader_that_leaves_is_no_error(stack: Stack, tmp_path: Path) -> None:
    """`clarion tail | head -1`, with `--since`, so that an event comes at once."""
    position = asyncio.run(stack.publish("all", "first"))
    asyncio.run(stack.publish("all", "second"))
    url = stack.gateways[0].url
    with subprocess.Popen(
        command("tail", "--quiet", "--since", position, "--url", url),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["type"] == "second"
        process.stdout.close()
        asyncio.run(stack.publish("all", "third"))
        assert process.stderr.read() == b""
    assert process.returncode == ExitCode.READER_LEFT
