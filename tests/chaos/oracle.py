"""Compares what every client received with what was published.

Each entitled client must receive each event once, in id order, or be told of a loss (`gap`,
`resumed: false`). It may be told of one only if Redis has lost data. No I/O. `test_oracle.py` shows
that the oracle finds each kind of fault.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tests.chaos.ledger import Entry, Ledger
from tests.chaos.revoking import Token, team_of
from tests.chaos.session import Event, Gap, Identity, Session, Topics

# How a welcomed connection may end in these scenarios: a drain, a kill or a cut, a slow client.
_RIGHTFUL_ENDS = {"1012", "1006", "4408", ""}
_REVOKED, _DISCONNECTED = "4401", "4409"

_ABOVE_ALL_IDS = 1 << 62


@dataclass
class Verdict:
    """The oracle's result; each fault is described in words."""

    due: int = 0
    delivered: int = 0
    excused: int = 0
    gaps: int = 0
    anew: int = 0
    not_resumed: int = 0
    faults: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, what: str) -> None:
        self.faults.setdefault(kind, []).append(what)

    def count(self, kind: str) -> int:
        return len(self.faults.get(kind, ()))


@dataclass(frozen=True)
class _Span:
    """A range of ids during which the connection may have been one of ``user``, with these topics."""

    user: str | None
    topics: frozenset[str]
    low: int
    high: int

    def takes(self, entry: Entry) -> bool:
        return entry.is_for(self.user, self.topics)


def judge(ledger: Ledger, clients: Mapping[str, Sequence[Session]]) -> Verdict:
    """Judge every client by its sessions, in their order."""
    verdict = Verdict()
    accepted = sorted(
        (entry for entry in ledger.entries if entry.id is not None), key=lambda entry: entry.id or 0
    )
    for client, sessions in clients.items():
        numbers: dict[int, int] = {}
        for index, session in enumerate(sessions):
            name = f"{client}, connection {index + 1}"
            _judge_start(verdict, ledger, name, session)
            judge_topics(verdict, ledger, name, session)
            _judge_heard(verdict, ledger, name, session, numbers)
            _judge_missing(verdict, ledger, client, name, session, accepted)
            judge_end(verdict, ledger, name, session)
            judge_orders(verdict, ledger, name, session)
    for entry in ledger.entries:
        if entry.accepted_us and entry.id is None and not ledger.wiped_since(entry):
            verdict.add("lost", f"event {entry.number}, confirmed to {entry.sender}, in no log")
    return verdict


def judge_refusals(verdict: Verdict, ledger: Ledger, refused: Iterable[Token]) -> None:
    """Judge tokens that gateways called revoked."""
    for token in refused:
        if not any(order.revokes(token) for order in ledger.orders):
            verdict.add("refused", f"a token of {token.user} that nobody had revoked")


def judge_logs(verdict: Verdict, ledger: Ledger, logged: Iterable[tuple[int, int]]) -> None:
    """Judge Redis' logs, given as (id, number): each event must be there once."""
    ids: dict[int, set[int]] = {}
    for id_, number in logged:
        ids.setdefault(number, set()).add(id_)
    for number, found in ids.items():
        if len(found) > 1 and not ledger.may_be_doubled(ledger.entries[number]):
            verdict.add("doubled", f"event {number} stands in the logs as {sorted(found)}")


def judge_end(verdict: Verdict, ledger: Ledger, name: str, session: Session) -> None:
    """No client may be closed for good without a reason."""
    explained = session.end in _RIGHTFUL_ENDS
    if session.end in {_REVOKED, _DISCONNECTED}:
        disconnects = session.end == _DISCONNECTED
        orders = [order for order in ledger.orders if order.disconnects is disconnects]
        if session.changed or session.token is None:
            explained = any(order.user in session.users for order in orders)
        else:
            explained = any(order.closes(session.token) for order in orders)
    if not explained:
        verdict.add("thrown out", f"{name}: closed with {session.end}")


def judge_orders(verdict: Verdict, ledger: Ledger, name: str, session: Session) -> None:
    """A revoked token must not work any more, and a disconnected client must hear no more."""
    token = session.token
    if token is None or session.changed:
        return
    for order in ledger.orders:
        confirmed_us = order.confirmed_us
        if confirmed_us is None or ledger.forgot(order) or not order.closes(token):
            continue
        if order.revokes(token) and session.dialled_us > confirmed_us:
            if session.end and ledger.may_be_unheard(order, session.dialled_us):
                continue  # the pod closes it once it hears, unless the client is gone by then
            late_us = session.dialled_us - confirmed_us
            verdict.add("let in", f"{name}: {late_us} us after its token was revoked")
        elif session.welcomed_us < order.asked_us and session.position > confirmed_us:
            late_us = session.position - confirmed_us
            verdict.add("kept", f"{name}: heard events until {late_us} us after {order.path}")


def _judge_start(verdict: Verdict, ledger: Ledger, name: str, session: Session) -> None:
    if session.since is None:
        if session.resumed is not None:
            verdict.add("dishonest", f"{name}: resumed={session.resumed} to one who began")
    elif session.resumed is False:
        verdict.anew += 1
        if not ledger.may_be_told(session.since):
            verdict.add("told without loss", f"{name}: resumed false from {session.since}")
    elif session.start != session.since:
        verdict.add("dishonest", f"{name}: resumed from {session.start}, asked {session.since}")


def judge_topics(verdict: Verdict, ledger: Ledger, name: str, session: Session) -> None:
    """A connection must receive the topics that its token grants, and resume them."""
    granted = set(session.asked)
    if session.token is not None:
        granted.add(team_of(session.token.user))
    if session.topics != granted:
        verdict.add("topics", f"{name}: receives {sorted(session.topics)}, not {sorted(granted)}")
    for topic in session.not_resumed:
        verdict.not_resumed += 1
        needed = (session.since or 0) - ledger.overlap_us
        if not (needed < ledger.began_us or ledger.may_be_told(needed)):
            verdict.add("told without loss", f"{name}: {topic} not resumed from {session.since}")


def _judge_heard(
    verdict: Verdict, ledger: Ledger, name: str, session: Session, numbers: dict[int, int]
) -> None:
    """Judge order, repetitions and entitlement; ``numbers`` are the ids of all received events."""
    user, topics, position = session.user, session.topics, session.start
    told = Counter[str]()
    for heard in session.heard:
        if isinstance(heard, Identity | Topics):
            topics = heard.topics
            if isinstance(heard, Identity):
                user = heard.user
            elif heard.id is not None:
                if heard.id < position:
                    verdict.add("disordered", f"{name}: topics at {heard.id} after {position}")
                position = max(position, heard.id)
            continue
        if isinstance(heard, Gap):
            told["gap"] += 1
            verdict.gaps += 1
            if told["gap"] > ledger.losses:
                verdict.add("told without loss", f"{name}: gap at {heard.id}")
            if heard.id < position:
                verdict.add("disordered", f"{name}: gap at {heard.id} after {position}")
        else:
            entitled = ledger.entries[heard.number].is_for(user, topics)
            _judge_event(
                verdict, ledger, name, session, heard, position, numbers, entitled=entitled
            )
        position = max(position, heard.id)


def _judge_event(
    verdict: Verdict,
    ledger: Ledger,
    name: str,
    session: Session,
    event: Event,
    position: int,
    numbers: dict[int, int],
    *,
    entitled: bool,
) -> None:
    what = f"{name}: event {event.number} with id {event.id}"
    entry = ledger.entries[event.number]
    before = numbers.get(event.number)
    numbers[event.number] = event.id
    if before == event.id:
        verdict.add("doubled", f"{what}, again")
    elif before is not None and not ledger.may_be_doubled(entry):
        verdict.add("doubled", f"{what}, before with {before}")
    elif event.id <= position:
        verdict.add("disordered", f"{what} at position {position}")
    if event.number in session.said:
        verdict.add("echoed", what)
    if not entitled:
        verdict.add("leaked", f"{what} is for {entry.audience}")


def _judge_missing(
    verdict: Verdict,
    ledger: Ledger,
    client: str,
    name: str,
    session: Session,
    accepted: Sequence[Entry],
) -> None:
    """Judge which of the events that the position claims were not received."""
    heard = {event.id for event in session.heard if isinstance(event, Event)}
    gaps = [gap.id for gap in session.heard if isinstance(gap, Gap)]
    spans = list(_spans(session))
    for entry in accepted:
        assert entry.id is not None
        if not session.start < entry.id <= session.position or entry.sender == client:
            continue
        if not all(span.takes(entry) for span in spans if span.low < entry.id < span.high):
            continue
        if entry.topic in session.not_resumed and entry.id < _first_of(ledger, session, entry):
            continue  # gone, and told
        verdict.due += 1
        if entry.id in heard:
            verdict.delivered += 1
        elif ledger.was_wiped(entry.id) and any(entry.id <= gap for gap in gaps):
            verdict.excused += 1
        else:
            what = f"{name}: event {entry.number} with id {entry.id} for {entry.audience}"
            verdict.add("lost", f"{what} ({session.start} to {session.position})")


def _first_of(ledger: Ledger, session: Session, entry: Entry) -> int:
    """The id of the connection's first event on the same topic."""
    ids = (
        heard.id
        for heard in session.heard
        if isinstance(heard, Event) and ledger.entries[heard.number].audience == entry.audience
    )
    return next(ids, _ABOVE_ALL_IDS)


def _spans(session: Session) -> Iterator[_Span]:
    """The connection's identities and topics, and the ids during which each may have been in force.

    An identity changes between the last event before `identity` and the first one after it. Events
    between those two ids are due only to a client that was entitled to them before and after. So it
    is where a client gives a topic up. A new topic counts from the id that `subscribed` names.
    """
    user, topics, low, position = session.user, session.topics, 0, session.start
    changed: list[tuple[str | None, frozenset[str], int]] = []
    for heard in session.heard:
        if isinstance(heard, Identity | Topics):
            changed.append((user, topics, low))
            topics, low = heard.topics, position
            if isinstance(heard, Identity):
                user = heard.user
        if isinstance(heard, Identity) or heard.id is None:
            continue
        if isinstance(heard, Topics):
            low = heard.id
        if not isinstance(heard, Gap):
            end = heard.id + isinstance(heard, Topics)
            yield from (_Span(*before, end) for before in changed)
            changed = []
        position = max(position, heard.id)
    yield from (_Span(*before, position + 1) for before in changed)
    yield _Span(user, topics, low, _ABOVE_ALL_IDS)
