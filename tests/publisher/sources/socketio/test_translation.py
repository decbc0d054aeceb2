"""`clarion_publisher.sources.socketio.translation`: rooms are topics or users, and maybe ids."""

from __future__ import annotations

import pytest

from clarion_contract.bus.orders import DisconnectSelected
from clarion_publisher.ingestion.event import IncomingEvent
from clarion_publisher.sources.socketio.message import MAIN, Disconnect, Emit, Target
from clarion_publisher.sources.socketio.translation import Translation


@pytest.mark.parametrize("room", ["all", "authenticated"])
def test_a_room_with_the_name_of_a_shared_stream_is_a_topic_and_nothing_else(room: str) -> None:
    order = Translation().order(Disconnect(Target(MAIN, (room,), (room,))), "1", 0.0)
    assert isinstance(order, DisconnectSelected)
    assert order.any_of == order.none_of == (f"topic:{room}",)
    (event,) = Translation().events(Emit(Target(MAIN, without=(room,)), "said", (b"1",)), "key")
    assert isinstance(event, IncomingEvent)
    assert event.exclude == f",topic:{room}"
