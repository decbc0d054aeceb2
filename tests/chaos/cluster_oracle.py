"""Judges what clients received from a cluster, where ids of different clocks do not compare.

On each stream, over all its connections, a client must receive every event in order from its first
one on. It may receive an event again only after a reconnect, from within the overlap. No I/O.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from tests.chaos.ledger import TOPIC, Entry, Ledger
from tests.chaos.oracle import Verdict, judge_end, judge_orders, judge_topics
from tests.chaos.session import Event, Gap, Identity, Session, Topics

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

    def keep(self, topics: Collection[str]) -> None:
        """The client receives only these topics; another one begins anew with its first event."""
        for audience in [each for each in self.first if each.startswith(TOPIC)]:
            if audience.removeprefix(TOPIC) not in topics:
                del self.first[audience]


@dataclass(frozen=True)
class _Due:
    """The events that a client is due, by stream.

    Attributes:
        client: its name. Events that it sent itself are not for it.
    """

    streams: Mapping[str, Sequence[Entry]]
    client: str

    def judge(self, verdict: Verdict, name: str, chain: _Chain, audience: str, until: int) -> None:
        """Below the last event that the client received on a stream, none may be missing."""
        if chain.changed and audience != "all":
            return
        first = chain.first[audience]
        for entry in self.streams.get(audience, ()):
            if entry.id is None or entry.sender == self.client or entry.id in chain.had:
                continue
            if first < entry.id < until:
                verdict.add("lost", f"{name}: event {entry.number}, id {entry.id}, {audience}")


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
            judge_topics(verdict, ledger, name, session)
            chain.keep(session.topics - session.not_resumed)
            due = _Due(streams, client)
            _judge_heard(verdict, ledger, name, session, numbers, chain, due)
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
    due: _Due,
) -> None:
    """Judge order, repetitions, entitlement, and what is missing between the events of a stream."""
    user, topics = session.user, session.topics
    seen: set[int] = set()
    last: dict[str, int] = {}
    gaps = 0
    for heard in session.heard:
        if isinstance(heard, Identity | Topics):
            user = heard.user if isinstance(heard, Identity) else user
            topics = heard.topics
            chain.had |= seen
            for left in [each for each in last if each.startswith(TOPIC)]:
                if left.removeprefix(TOPIC) not in topics:
                    due.judge(verdict, name, chain, left, last.pop(left))
            chain.keep(topics)
        elif isinstance(heard, Gap):
            gaps += 1
            verdict.gaps += 1
            if gaps > ledger.losses:
                verdict.add("told without loss", f"{name}: gap at {heard.id}")
        else:
            entry = ledger.entries[heard.number]
            entitled = entry.is_for(user, topics)
            _judge_event(verdict, ledger, name, session, heard, numbers, entitled=entitled)
            if heard.id in seen:
                verdict.add("doubled", f"{name}: event {heard.number} with id {heard.id}")
            if heard.id <= last.get(entry.audience, 0):
                verdict.add("disordered", f"{name}: event {heard.number} with id {heard.id}")
            seen.add(heard.id)
            last[entry.audience] = heard.id
            chain.first.setdefault(entry.audience, heard.id)
    chain.had |= seen
    for audience, until in last.items():
        due.judge(verdict, name, chain, audience, until)


def _judge_event(
    verdict: Verdict,
    ledger: Ledger,
    name: str,
    session: Session,
    event: Event,
    numbers: dict[int, int],
    *,
    entitled: bool,
) -> None:
    what = f"{name}: event {event.number} with id {event.id}"
    entry = ledger.entries[event.number]
    before = numbers.setdefault(event.number, event.id)
    if before != event.id and not ledger.may_be_doubled(entry):
        verdict.add("doubled", f"{what}, before with {before}")
    if event.number in session.said:
        verdict.add("echoed", what)
    if not entitled:
        verdict.add("leaked", f"{what} is for {entry.audience}")
