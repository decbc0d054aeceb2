"""`clarion up --reload`: new code answers, clients resume, and code that fails ends nothing."""

from __future__ import annotations

import asyncio
import queue
import threading
from pathlib import Path
from typing import IO

from clarion.client import Client, NoAnswerError, Open, Status
from tests.cli.clarion import Clarion
from tests.e2e.test_up import up

SECONDS = 120

APPLICATION = """
from clarion import Handlers

handlers = Handlers()

@handlers.on("version")
async def version(message, context):
    return {version}
"""


def lines_of(stream: IO[str] | None) -> queue.SimpleQueue[str]:
    """The lines of a process's output as they come."""
    assert stream is not None
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in stream:
            lines.put(line)

    threading.Thread(target=read, daemon=True).start()
    return lines


def wait_for(lines: queue.SimpleQueue[str], text: str) -> str:
    while True:
        line = lines.get(timeout=SECONDS)
        if text in line:
            return line


async def until_version(client: Client, version: int) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                if await client.send("version") == version:
                    return
            except NoAnswerError:  # the connection was lost meanwhile
                pass
            await asyncio.sleep(0.05)


async def test_new_code_answers_and_clients_resume(tmp_path: Path) -> None:
    module = tmp_path / "reloaded.py"
    module.write_text(APPLICATION.format(version=1))
    with up(tmp_path, "--reload", "--handlers", "reloaded:handlers", gateways=2) as running:
        results = lines_of(running.process.stdout)
        errors = lines_of(running.process.stderr)
        opened: list[Open] = []

        def note(status: Status) -> None:
            if isinstance(status, Open):
                opened.append(status)

        async with Client(running.record["gateways"], on_status=note) as client:
            await until_version(client, 1)
            module.write_text(APPLICATION.format(version=2))
            await asyncio.to_thread(wait_for, results, '"process":"gateway-2"')
            await until_version(client, 2)

            module.write_text("raise OSError('no database')\n")
            line = await asyncio.to_thread(wait_for, errors, "waiting for the next change")
            assert "gateway-1 ended at once: cannot import GATEWAY_HANDLERS" in line
            assert "OSError: no database" in line
            await until_version(client, 2)  # gateway-2 goes on with the old code

            module.write_text(APPLICATION.format(version=3))
            await until_version(client, 3)
        assert len(opened) >= 2
        assert all(status.resumed for status in opened[1:])
        running.interrupt()
        assert await asyncio.to_thread(running.process.wait, SECONDS) == 0


def test_there_must_be_something_to_reload(tmp_path: Path) -> None:
    done = Clarion(tmp_path).run("up", "--reload", "--handlers", "")
    assert done.returncode == 2
    assert "--reload needs --handlers MODULE:NAME" in done.stderr
