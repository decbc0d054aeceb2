"""A bug in a background job of a gateway closes no socket and is counted, and the job goes on."""

from __future__ import annotations

import asyncio
import base64
import re
from pathlib import Path
from typing import Any

import pytest

import clarion_gateway.jobs
from clarion import Context, Handlers, user
from clarion_contract.bus.publish_queue import PublishQueue
from clarion_contract.events.audience import ALL, user_audience
from clarion_contract.identity.keys import FixedKey
from clarion_contract.service.declared_events import DeclaredEvents
from clarion_contract.service.readiness import HealthLog
from clarion_gateway.bus.recovery_key import RecoveryKey
from clarion_gateway.bus.subscription import Subscription
from clarion_gateway.clients.given_topics import GivenTopics
from clarion_gateway.clients.remembered_topics import RememberedTopics
from clarion_gateway.connections.keepalive import Sweeper
from clarion_gateway.delivery.rounds import Delivery
from clarion_gateway.fleet.pod_deletion_cost import PodDeletionCost
from clarion_gateway.fleet.presence import Presence
from clarion_gateway.fleet.rebalancing import Rebalancing
from clarion_gateway.fleet.silent_texts import SilentTexts
from clarion_gateway.fleet.topic_presence import TopicPresence
from clarion_gateway.fleet.transitions import Transitions
from clarion_gateway.jobs import ESSENTIAL
from tests.integration.conftest import Start
from tests.integration.pod import token
from tests.integration.sockets import opened

handlers = Handlers()


@handlers.on("publish")
async def publish(message: None, context: Context) -> str:
    await context.publish(user("nobody"), "note", message)
    return "published"


# Where each job is made to raise: at the start of its loop, when sockets are there already.
JOBS: dict[str, tuple[type, str]] = {
    "subscription": (Subscription, "run"),
    "delivery": (Delivery, "_take"),
    "publish_queue": (PublishQueue, "_publish"),
    "keepalive": (Sweeper, "sweep"),
    "presence": (Presence, "run"),
    "health_log": (HealthLog, "run"),
    "keys": (FixedKey, "run"),
    "given_topics": (GivenTopics, "run"),
    "topic_presence": (TopicPresence, "run"),
    "silent_texts": (SilentTexts, "run"),
    "transitions": (Transitions, "run"),
    "catalogue": (DeclaredEvents, "run"),
    "prune": (Subscription, "prune"),
    "remembered_topics": (RememberedTopics, "run"),
    "recovery_key": (RecoveryKey, "run"),
    "rebalancing": (Rebalancing, "run"),
    "pod_deletion_cost": (PodDeletionCost, "run"),
}


# Nothing listens at this port.
NOBODYS_UPSTREAM = {
    "upstream_url": "http://127.0.0.1:9/",
    "upstream_secret": "whsec_" + base64.b64encode(bytes(32)).decode(),
    "upstream_hooks": ("presence",),
}
RULES = '{"topics": [{"pattern": "room.*", "presence": true}]}'


def test_every_job_of_a_gateway_is_tried() -> None:
    source = Path(clarion_gateway.jobs.__file__).read_text()
    kept = set(re.findall(r'^ {8}"(\w+)": ', source, re.MULTILINE))
    optional = set(re.findall(r'yield "(\w+)", ', source))
    assert kept | optional == JOBS.keys()
    assert kept > ESSENTIAL


class Planted(Exception):
    """The bug."""


def plant(monkeypatch: pytest.MonkeyPatch, cls: type, name: str) -> asyncio.Event:
    """Make a method raise once after the event is set; this interrupts a loop."""
    armed = asyncio.Event()
    original = getattr(cls, name)
    raised = False

    async def interrupted(self: Any, *args: Any) -> None:
        nonlocal raised
        if raised:
            await original(self, *args)
            return
        work = asyncio.ensure_future(original(self, *args))
        await armed.wait()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        raised = True
        raise Planted(name)

    def broken(self: Any, *args: Any) -> Any:
        nonlocal raised
        if armed.is_set() and not raised:
            raised = True
            raise Planted(name)
        return original(self, *args)

    monkeypatch.setattr(cls, name, interrupted if name == "run" else broken)
    return armed


@pytest.mark.parametrize("job", JOBS)
async def test_a_bug_in_a_job_closes_no_socket(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, job: str
) -> None:
    armed = plant(monkeypatch, *JOBS[job])
    options = {
        "handlers": f"{__name__}:handlers",
        "rebalance": job == "rebalancing",
        "pod_deletion_cost": job == "pod_deletion_cost",
        "linger_seconds": 4.0,
        "catalogue": tmp_path if job == "catalogue" else None,
        "topic_rules": RULES if job == "topic_presence" else None,
        **(NOBODYS_UPSTREAM if job == "transitions" else {}),
    }
    async with (
        start(**options) as pod,
        opened(pod) as guest,
        opened(pod, token=token("alice")) as alice,
    ):
        armed.set()
        await pod.publish(ALL, data=b"1")
        assert (await guest.receive("event"))["data"] == 1
        assert (await alice.receive("event"))["data"] == 1
        asked = await alice.ask("publish")  # refused, where the publish queue is what fails
        await pod.counted("clarion_job_failures_total", task=job)
        await pod.ready()

        await pod.publish(ALL, data=b"2")
        await pod.publish(user_audience("alice"), data=b"3")
        assert (await guest.receive("event"))["data"] == 2
        heard = [await alice.receive("event") for _ in range(2)]
        assert [each["data"] for each in heard] == [2, 3]
        assert await alice.ask("publish") == {"kind": "reply", "ref": 1, "data": "published"}
        expected = "error" if job == "publish_queue" else "reply"
        assert asked["kind"] == expected, asked
        assert await pod.metric("clarion_closes_total") == 0
        assert await pod.metric("clarion_job_failures_total") == 1
