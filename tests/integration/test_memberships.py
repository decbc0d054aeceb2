"""Clients that subscribe to topics while they are connected, on a real Redis."""

from __future__ import annotations

import json

from clarion_contract.events.audience import topic_audience
from tests.integration.conftest import Start
from tests.integration.pod import token
from tests.integration.sockets import opened


async def test_every_event_above_the_id_of_subscribed_comes(start: Start) -> None:
    """An event came just before the pod's subscription. The client lacks it, and the id shows it."""
    async with start() as pod, opened(pod, token=token("alice", subscribe=["room.*"])) as client:
        for number in range(5):
            topic = f"room.{number}"
            before = await pod.publish(topic_audience(topic))
            message = {"kind": "subscribe", "ref": number, "topics": [topic]}
            await client.connection.send(json.dumps(message))
            subscribed = await client.receive("subscribed")
            after = await pod.publish(topic_audience(topic))
            event = await client.receive("event")

            assert subscribed["topics"] == [topic]
            assert int(subscribed["id"]) >= before
            assert int(event["id"]) == after
