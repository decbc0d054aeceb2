"""An application's life in a gateway process: its lifespan begins before the clients and ends last."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from tests.integration.sockets import opened
from tests.processes import Process, running

# Writes down what happens, in order.
LIVING: Final = """
import asyncio
from pathlib import Path
from clarion import Handlers

NOTES = Path(__file__).with_name("notes")
handlers = Handlers()

def note(text):
    with NOTES.open("a") as notes:
        notes.write(text + "\\n")

@handlers.lifespan
async def pool():
    note("opens")
    yield "pool"
    note("closes")

@handlers.on("use")
async def use(message, context):
    note(f"uses {context.state}")
    await asyncio.sleep(message)
    note("used")

def create():
    return handlers
"""

FAILING: Final = """
from clarion import Handlers

handlers = Handlers()

@handlers.lifespan
async def pool():
    raise OSError("no\\ndatabase")
    yield
"""


class Gateway:
    """What `opened` needs of a pod."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def url(self, path: str = "/ws") -> str:
        return self._process.url.replace("http", "ws", 1) + path


async def test_a_lifespan_lasts_until_the_last_handler_has_ended(
    redis_url: str, namespace: str, tmp_path: Path
) -> None:
    (tmp_path / "living.py").write_text(LIVING)
    mounted = {"PYTHONPATH": str(tmp_path), "GATEWAY_HANDLERS": "living:create"}
    with running(
        "gateway", tmp_path, redis_url, CLARION_NAMESPACE=namespace, **mounted
    ) as process:
        async with opened(Gateway(process)) as client:
            await client.send(kind="message", ref=1, type="use", data=0)
            await client.receive("reply")
            await client.send(kind="message", ref=2, type="use", data=0.5)
            while (tmp_path / "notes").read_text().count("uses") < 2:
                await asyncio.sleep(0.01)
            code = await asyncio.to_thread(process.stop)
    assert code == 0
    assert (tmp_path / "notes").read_text().splitlines() == [
        "opens", "uses pool", "used", "uses pool", "used", "closes",
    ]  # fmt: skip


def test_a_lifespan_that_fails_ends_the_start_with_one_line(
    redis_url: str, namespace: str, tmp_path: Path
) -> None:
    (tmp_path / "failing.py").write_text(FAILING)
    log = tmp_path / "gateway.log"
    mounted = {"PYTHONPATH": str(tmp_path), "GATEWAY_HANDLERS": "failing:handlers"}
    with Process("gateway", log, redis_url, CLARION_NAMESPACE=namespace, **mounted) as process:
        assert process.end() == 2
    assert log.read_text().splitlines() == [
        "gateway: GATEWAY_HANDLERS=failing:handlers: the lifespan pool failed: "
        f"OSError: no database ({tmp_path / 'failing.py'}:8)"
    ]
