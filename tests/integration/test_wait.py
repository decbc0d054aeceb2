"""CLARION_WAIT_REPLICAS on a gateway: only events that handlers publish wait for replicas."""

from __future__ import annotations

import signal
from pathlib import Path

from clarion_contract.events.audience import ALL
from tests.integration.pod import started
from tests.integration.sockets import opened
from tests.integration.test_handlers_live import MOUNTED
from tests.redis_topologies import replicated


async def test_a_handlers_event_is_replicated_before_its_sender_has_the_reply(
    tmp_path: Path, namespace: str
) -> None:
    """The pod starts while no replica confirms: its probes do not wait for one."""
    with replicated(tmp_path) as (primary, replica):
        replica.signal(signal.SIGSTOP)
        url = f"redis://{primary.address}/0"
        async with (
            started(url, namespace, wait_replicas=1, wait_seconds=0.3, **MOUNTED) as pod,
            opened(pod) as client,
        ):
            error = await client.ask("chat", {"text": "hi"})
            replica.signal(signal.SIGCONT)
            reply = await client.ask("chat", {"text": "hi again"})
            log = pod.settings.keyspace.log(ALL.stream)
        assert (error["kind"], error["code"]) == ("error", "unavailable")
        assert reply["kind"] == "reply"
        assert replica.client.xlen(log) == 2, "the first is out too"
