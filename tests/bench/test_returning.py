"""Clients that reconnect wait as their system documents it, and count what they lost."""

from __future__ import annotations

import pytest

from clarion_bench import payload
from clarion_bench.frames import Frame, Opcode
from clarion_bench.returning import ClarionPolicy, Client, Returning, SocketIoPolicy, highest_rate


def clarion_client() -> Client:
    return Returning(ClarionPolicy(), 1, ["?token=t"]).clients[0]


def test_the_highest_rate_is_that_of_the_fullest_second() -> None:
    assert highest_rate([]) == 0
    assert highest_rate([0.0, 0.5, 0.9, 1.0, 1.2, 5.0]) == 4
    assert highest_rate([0.0, 0.1, 0.2, 5.0], window_seconds=0.1) == 10


def test_a_clarion_client_comes_back_with_its_position_when_it_was_told_to() -> None:
    client, policy = clarion_client(), ClarionPolicy()
    policy.heed(client, b'{"kind":"welcome","connection":"c","id":"7","resumed":null}')
    assert policy.query(client) == "?token=t&since=7"
    policy.heed(client, b'{"kind":"event","id":"9","audience":"all","data":1}')
    policy.heed(client, b'{"kind":"reconnect","after_ms":250,"reason":"draining"}')
    assert policy.query(client) == "?token=t&since=9"
    assert policy.wait_seconds(client) == 0.25
    client.credentials = ""
    assert policy.query(client) == "?since=9"


@pytest.mark.parametrize(
    "message",
    [b'{"kind":"gap","id":"9"}', b'{"kind":"welcome","id":"9","resumed":false}'],
    ids=["gap", "resumed false"],
)
def test_a_loss_that_was_told_is_counted(message: bytes) -> None:
    client = clarion_client()
    ClarionPolicy().heed(client, message)
    assert (client.told, client.position) == (1, b"9")


def test_without_a_hint_clients_back_off() -> None:
    client = clarion_client()
    client.failures = 3
    assert 0 <= ClarionPolicy().wait_seconds(client) <= 2
    assert all(0.5 <= SocketIoPolicy().wait_seconds(clarion_client()) <= 1.5 for _ in range(50))
    assert 4 <= SocketIoPolicy().wait_seconds(client) <= 5


def test_numbers_that_jump_are_lost_and_those_that_repeat_are_doubled() -> None:
    client = clarion_client()
    for number in (4, 5, 8, 8, 7, 9):
        client._count(number)
    assert (client.events, client.lost, client.doubled) == (4, 2, 2)


def test_messages_carry_their_number() -> None:
    assert payload.numbered(b'42["e",' + payload.encode(3) + b"]")
    assert not payload.numbered(b'{"kind":"event","id":"1","data":{}}')
    assert Frame(Opcode.TEXT, b"").opcode == Opcode.TEXT
