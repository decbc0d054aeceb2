"""The rules that a client of ``clarion.v1`` keeps.

The client under test is a program. It connects anonymously to the address in the variable
``CLARION_GATEWAY_URL``, and prints each event that it gets as one line of JSON with the event's
``id``, as `clarion tail` does.
"""

from __future__ import annotations

from typing import Any, Final

from clarion_cli.conformance.check import Broken, Check, expect
from clarion_cli.conformance.stage import Act, Client
from clarion_contract.protocol import tables

_AWAY_SECONDS: Final = 3.0
_HINT_MS: Final = 400
_SECTION: Final = "when to come back"


def welcome(**changes: object) -> dict[str, Any]:
    """A first message."""
    return {
        "kind": "welcome",
        "connection": "first",
        "user": None,
        "pod": "conformance",
        "id": "10",
        "resumed": None,
        "expires_in": None,
        "ping_interval": 25,
        **changes,
    }


def event(id_: int, **changes: object) -> dict[str, Any]:
    """An event to everybody."""
    return {
        "kind": "event",
        "id": str(id_),
        "audience": "all",
        "type": "conformance",
        "time": "2026-01-02T03:04:05.678901Z",
        "data": id_,
        **changes,
    }


RESUMED: Final = welcome(connection="second", id="11", resumed=True)


async def _resumes(client: Client) -> None:
    acts = (Act([welcome(), event(11)], 1012), Act([RESUMED, event(12)]))
    async with client.on(*acts) as stage:
        await stage.has_printed("11", "12")
        expect(stage.arrivals[0].query.get("since"), None, "`since` of the first connection")
        expect(stage.arrivals[1].query.get("since"), "11", "`since` of the second connection")
        expect(stage.arrivals[1].query.get("connection"), "first", "`connection`")


async def _welcome_is_a_position(client: Client) -> None:
    async with client.on(Act([welcome()], 1012), Act([RESUMED])) as stage:
        await stage.arrived(2)
        expect(stage.arrivals[1].query.get("since"), "10", "`since` of the second connection")


async def _hint(client: Client) -> None:
    hint = {"kind": "reconnect", "after_ms": _HINT_MS, "reason": "draining"}
    async with client.on(Act([welcome(), hint], 1012), Act([RESUMED])) as stage:
        await stage.arrived(2)
        waited = stage.arrivals[1].at - stage.arrivals[0].at
        if waited < _HINT_MS / 1000:
            raise Broken(f"expected a pause of {_HINT_MS} ms, got {waited * 1000:.0f} ms")


async def _unknown(client: Client) -> None:
    act = Act([welcome(more=1), {"kind": "more"}, {"kind": "ping"}, event(11, more=1), event(12)])
    async with client.on(act) as stage:
        await stage.has_printed("11", "12")
        expect(len(stage.arrivals), 1, "the number of connections")


async def _no_event_twice(client: Client) -> None:
    again = [RESUMED, event(11), event(12)]
    async with client.on(Act([welcome(), event(11)], 1012), Act(again)) as stage:
        await stage.has_printed("11", "12")


async def _silence(client: Client) -> None:
    async with client.on(Act([welcome(ping_interval=1)]), Act([RESUMED, event(12)])) as stage:
        await stage.has_printed("12")


def _after(code: int) -> Check[Client]:
    """Whether a client comes back after a close with this code."""

    async def stays_away(client: Client) -> None:
        async with client.on(Act([welcome()], code)) as stage:
            await stage.stays_away(_AWAY_SECONDS)

    async def comes_back(client: Client) -> None:
        async with client.on(Act([welcome()], code), Act([RESUMED])) as stage:
            await stage.arrived(2)

    if tables.verdict(code) == "stop":
        return Check(f"a close with {code} is the end", _SECTION, stays_away)
    return Check(f"a close with {code} is not the end", _SECTION, comes_back)


def _codes() -> list[int]:
    """The codes that a server sends to a client without a token."""
    codes = {row.code for row in tables.closes() if row.verdict != "token"}
    return sorted(codes - {tables.NORMAL_CODE, tables.ABNORMAL_CODE})


CHECKS: Final = (
    Check("a client comes back with its position and its connection", "resume", _resumes),
    Check("the id of welcome is a position", "welcome", _welcome_is_a_position),
    Check("the pause is as long as reconnect says", _SECTION, _hint),
    Check("unknown kinds and fields are ignored", "messages", _unknown),
    Check("an event that comes again is dropped", "no event twice", _no_event_twice),
    Check("a silent connection is given up after two intervals", "keep-alive", _silence),
    *map(_after, _codes()),
)
"""Each runs the client anew."""
