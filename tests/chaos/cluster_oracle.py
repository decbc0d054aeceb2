"""Judges what clients received from a cluster, where ids of different clocks do not compare.

On each stream, over all its connections, a client must receive every event in order from its first
one on. It may receive an event again only after a reconnect, from within the overlap. No I/O.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.chaos.ledger import Entry, Ledger
from tests.chaos.oracle import Verdict, judge_end, judge_orders
from tests.chaos.session import Event, Gap, Identity, Session

_SHARED = ("all", "authenticated")


@dataclass
class _Chain:
    """A client's connections from one `welcome` without a position to the next.

    Attributes:
        first: by stream, the id above which the client is due every event.
        had: ids that the client received.
        changed: whether its identity changed, so that only `all` is certainly due.
    """

    first: dict[str, int]
    welcomed_us: int
    had: set[int] = field(default_factory=set)
    changed: bool = False


def judge_cluster(ledger: Ledger, clients: Mapping[str, Sequence[Session]]) -> Verdict:
    """Judge every client by its sessions, in their order."""
    verdict = Verdict()
    streams: dict[str, list[Entry]] = {}
    for entry in ledger.entries:
        if entry.id is not None:
            streams.setdefault(entry.audience, []).append(entry)
        elif entry.accepted_us:
            verdict.add("lost", f"event {entry.number}, confirmed to {entry.sender}, in no log")
    for client, sessions in clients.items():
        chain: _Chain | None = None
        numbers: dict[int, int] = {}
        for index, session in enumerate(sessions):
            name = f"{client}, connection {index + 1}"
            if chain is None or session.since is None or session.resumed is False:
                first = dict.fromkeys(_SHARED, session.start)
                chain = _Chain(first, session.welcomed_us)
            chain.changed = chain.changed or session.changed
            _judge_start(verdict, ledger, name, session)
            last = _judge_heard(verdict, ledger, name, session, numbers, chain)
            for audience, until in last.items():
                due = [e for e in streams.get(audience, ()) if e.sender != client]
                _judge_missing(verdict, name, chain, due, until)
            judge_end(verdict, ledger, name, session)
            judge_orders(verdict, ledger, name, session)
        if chain is not None:
            verdict.delivered += len(chain.had)
    verdict.due += verdict.delivered
    return verdict


def _judge_start(verdict: Verdict, ledger: Ledger, name: str, session: Session) -> None:
    since = session.since
    if since is None:
        return
    if session.resumed is False:
        verdict.anew += 1
        needed = since - ledger.overlap_us
        if needed > ledger.began_us and not ledger.may_be_told(needed):
            verdict.add("told without loss", f"{name}: resumed false from {since}")
    elif session.start != since:
        verdict.add("dishonest", f"{name}: resumed from {session.start}, asked {since}")


def _judge_heard(
    verdict: Verdict,
    ledger: Ledger,
    name: str,
    session: Session,
    numbers: dict[int, int],
    chain: _Chain,
) -> dict[str, int]:
    """Judge order, repetitions and entitlement; return the last id by stream."""
    user = session.user
    seen: set[int] = set()
    last: dict[str, int] = {}
    gaps = 0
    for heard in session.heard:
        if isinstance(heard, Identity):
            user = heard.user
        elif isinstance(heard, Gap):
            gaps += 1
            verdict.gaps += 1
            if gaps > ledger.losses:
                verdict.add("told without loss", f"{name}: gap at {heard.id}")
        else:
            _judge_event(verdict, ledger, name, session, heard, user, numbers)
            entry = ledger.entries[heard.number]
            if heard.id in seen:
                verdict.add("doubled", f"{name}: event {heard.number} with id {heard.id}")
            if heard.id <= last.get(entry.audience, 0):
                verdict.add("disordered", f"{name}: event {heard.number} with id {heard.id}")
            seen.add(heard.id)
            last[entry.audience] = heard.id
            chain.first.setdefault(entry.audience, heard.id)
    chain.had |= seen
    return last


def _judge_event(
    verdict: Verdict,
    ledger: Ledger,
    name: str,
    session: Session,
    event: Event,
    user: str | None,
    numbers: dict[int, int],
) -> None:
    what = f"{name}: event {event.number} with id {event.id}"
    entry = ledger.entries[event.number]
    before = numbers.setdefault(event.number, event.id)
    if before != event.id and not ledger.may_be_doubled(entry):
        verdict.add("doubled", f"{what}, before with {before}")
    if event.number in session.said:
        verdict.add("echoed", what)
    if not entry.is_for(user):
        verdict.add("leaked", f"{what} is for {entry.audience}, not for {user}")


def _judge_missing(
    verdict: Verdict, name: str, chain: _Chain, due: Sequence[Entry], until: int
) -> None:
    """Below the last event that the client received on a stream, none may be missing."""
    for entry in due:
        assert entry.id is not None
        if chain.changed and entry.audience != "all":
            continue
        if chain.first[entry.audience] < entry.id < until and entry.id not in chain.had:
            verdict.add("lost", f"{name}: event {entry.number}, id {entry.id}, {entry.audience}")
