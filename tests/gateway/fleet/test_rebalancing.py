"""`clarion_gateway.fleet.rebalancing.Rebalancing`: alone, and among several pods in simulated time."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import pytest
import structlog
from structlog.testing import capture_logs
from structlog.typing import EventDict

from clarion_contract.bus.presence import NO_PODS, PodLoad, Pods
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.close_codes import Close
from clarion_gateway.connections.hub import Hub
from clarion_gateway.fleet.rebalancing import Rebalancing
from tests.gateway.clockwork import ClockworkLoop
from tests.gateway.recorder import Recorder, metrics, sample, settings

NAME = "a:1"
RATE = 10


class Client(Recorder):
    """Leaves the hub when it is closed, as a transport does."""

    __slots__ = ("pod",)

    def __init__(self, pod: Pod) -> None:
        super().__init__()
        self.pod = pod

    def close(self, close: Close, *, message: bytes = b"") -> None:
        super().close(close, message=message)
        self.pod.sent += self.pod.hub.remove(self)


class Pod:
    """A hub that is rebalanced, one second at a time."""

    def __init__(self, connections: int = 0, **overrides: object) -> None:
        self.hub = Hub()
        self.pods = NO_PODS
        self.ready = True
        self.now = 0.0
        self.sent = 0
        self.talking: list[Recorder] = []
        self.metrics = metrics()
        options = {"rebalance_per_second": RATE, **overrides}
        self.rebalancing = Rebalancing(
            self.hub,
            lambda: self.pods,
            lambda: self.ready,
            lambda client: client in self.talking,
            self.metrics,
            settings(**options),
            clock=lambda: self.now,
        )
        self.clients = [self.connect() for _ in range(connections)]

    def __len__(self) -> int:
        return len(self.hub)

    def connect(self) -> Client:
        client = Client(self)
        self.hub.add(client)
        return client

    def hear(self, *others: PodLoad, ready: bool = True) -> None:
        """Give the pod a heartbeat's answer."""
        loads = {f"b:{number}": load for number, load in enumerate(others)}
        self.pods = Pods(NAME, 9, {NAME: PodLoad(len(self), 0, 0, ready), **loads})

    def step(self, seconds: int = 1) -> int:
        """Let time pass; return how many connections were sent elsewhere."""
        before = self.sent
        for _ in range(seconds):
            self.now += 1
            self.rebalancing.step()
        return self.sent - before


def empty(*, ready: bool = True) -> PodLoad:
    return PodLoad(0, 0, 0, ready)


def test_sends_the_oldest_on_at_its_rate_and_stops_above_the_mean() -> None:
    pod = Pod(1_000)
    pod.hear(empty())
    assert [pod.step() for _ in range(3)] == [RATE] * 3
    closed = [client for client in pod.clients if client.closed_with is not None]
    assert closed == pod.clients[: 3 * RATE]
    pod.step(600)
    assert 500 < len(pod) < 600
    assert pod.step(60) == 0
    assert sample(pod.metrics, "clarion_rebalanced_total") == pod.sent


def test_less_than_one_a_second() -> None:
    pod = Pod(1_000, rebalance_per_second=0.25)
    pod.hear(empty())
    assert [pod.step(4) for _ in range(3)] == [1, 1, 1]


def test_clients_are_told_when_to_come_back() -> None:
    pod = Pod(1_000)
    pod.hear(empty())
    pod.step()
    client = pod.clients[0]
    assert client.closed_with == close_codes.REBALANCING
    (message,) = client.messages
    assert message["kind"] == "reconnect"
    assert message["reason"] == "rebalancing"
    assert 0 <= message["after_ms"] < 1_000


def test_a_busy_client_stays() -> None:
    """Otherwise a reply would be lost, or a replay would begin again."""
    pod = Pod()
    catching_up = Client(pod)
    pod.hub.add(catching_up, catching_up=True)
    talking = pod.connect()
    pod.talking.append(talking)
    idle = [pod.connect() for _ in range(998)]
    pod.hear(empty())
    pod.step()
    assert catching_up.closed_with is talking.closed_with is None
    assert {each.closed_with for each in idle[:RATE]} == {close_codes.REBALANCING}


@pytest.mark.parametrize(
    ("connections", "others"),
    [
        (1_000, []),
        (1_000, [900]),
        (1_190, [1_000, 800]),
        (30, [0, 0]),
    ],
)
def test_what_is_near_the_mean_or_few_stays(connections: int, others: list[int]) -> None:
    pod = Pod(connections)
    pod.hear(*(PodLoad(0, other, other) for other in others))
    assert pod.step(60) == 0


def test_pods_that_are_not_ready_do_not_count() -> None:
    """They are starting or draining, and get no clients."""
    pod = Pod(1_000)
    pod.hear(empty(ready=False), PodLoad(900, 0, 0))
    assert pod.step(60) == 0


def test_nothing_while_it_is_not_ready_itself() -> None:
    """The pod drains, or its bus is not verified."""
    pod = Pod(1_000)
    pod.hear(empty())
    pod.ready = False
    assert pod.step(60) == 0
    pod.ready = True
    assert pod.step() == RATE
    pod.ready = False
    assert pod.step() == 0


def test_a_pod_that_has_just_become_ready_counts_itself() -> None:
    pod = Pod(1_000)
    pod.hear(empty(), ready=False)
    assert pod.step() == RATE


def test_nothing_while_it_does_not_know_the_others() -> None:
    """Before the first heartbeat, and after a long time without Redis."""
    pod = Pod(1_000)
    assert pod.step(60) == 0
    pod.hear(empty())
    assert pod.step() == RATE
    pod.pods = NO_PODS
    assert pod.step(60) == 0


def test_clients_that_came_since_the_heartbeat_are_not_too_many() -> None:
    """The mean does not contain clients that came to other pods meanwhile."""
    pod = Pod(500)
    pod.hear(PodLoad(500, 0, 0))
    for _ in range(500):
        pod.connect()
    assert pod.step(60) == 0


@pytest.fixture
def logs(_quiet: None) -> Iterator[list[EventDict]]:
    structlog.reset_defaults()
    with capture_logs() as logs:
        yield logs


def send_on_in_vain(pod: Pod) -> int:
    """Send clients on until the pod gives up; all of them return at once. Returns their number."""
    before = pod.sent
    while sent := pod.step():
        for _ in range(sent):
            pod.connect()
    return pod.sent - before


def test_it_gives_up_where_it_does_not_help(logs: list[EventDict]) -> None:
    """For example with sticky sessions, or if one of the other pods gets no clients."""
    pod = Pod(1_000)
    pod.hear(empty())
    # Three times what is too much: half would come back by chance.
    assert 1_000 <= send_on_in_vain(pod) <= 1_500
    assert [entry["event"] for entry in logs] == ["rebalancing", "rebalancing does not help"]


def test_it_tries_again_less_and_less_often_until_it_helps() -> None:
    pod = Pod(1_000)
    pod.hear(empty())
    for minutes in (10, 20, 40, 80, 160, 320, 360, 360):
        assert send_on_in_vain(pod) > 0
        assert pod.step(60 * minutes - 2) == 0
        pod.step()
    assert pod.step(600) > 0
    assert pod.step() == 0, "now it has helped"
    for _ in range(500):
        pod.connect()
    pod.hear(empty())
    for _ in range(2):
        assert send_on_in_vain(pod) > 0
        pod.now += 600


def test_it_looks_once_a_second() -> None:
    pod = Pod(1_000)
    pod.hear(empty())
    loop = ClockworkLoop()
    task = loop.spawn(pod.rebalancing.run())
    loop.advance(5.5)
    assert pod.sent == 5 * RATE
    assert not task.done()
    loop.finish()


Choose = Callable[[int], int]


def at_random(seed: int) -> Choose:
    return random.Random(seed).randrange


def in_turn() -> Choose:
    turns = iter(range(10**9))
    return lambda pods: next(turns) % pods


class Balanced:
    """Pods behind a load balancer, with their own heartbeats; clients return within seconds."""

    BEAT_SECONDS = 3

    def __init__(self, counts: Iterable[int], choose: Choose, **overrides: object) -> None:
        self.pods = [Pod(count, **overrides) for count in counts]
        self.total = sum(map(len, self.pods))
        self.choose = choose
        self.second = 0
        self.said = {self.name(i): PodLoad(len(pod), 0, 0) for i, pod in enumerate(self.pods)}
        self.returning: deque[list[None]] = deque([[], []])

    @staticmethod
    def name(index: int) -> str:
        return f"pod-{index}:1"

    @property
    def sent(self) -> int:
        return sum(pod.sent for pod in self.pods)

    def run(self, seconds: int, *, churn: float = 0) -> None:
        """Let time pass; a part of all clients reconnects each second by itself."""
        for _ in range(seconds):
            self.second += 1
            for index, pod in enumerate(self.pods):
                if (self.second + index) % self.BEAT_SECONDS == 0:
                    self.said[self.name(index)] = PodLoad(len(pod), 0, 0)
                    pod.pods = Pods(self.name(index), 9, dict(self.said))
            away = sum(pod.step() for pod in self.pods) + sum(
                self.leave(pod, churn) for pod in self.pods
            )
            self.returning.append([None] * away)
            for _ in self.returning.popleft():
                self.pods[self.choose(len(self.pods))].connect()

    @staticmethod
    def leave(pod: Pod, churn: float) -> int:
        leaving = [client for client in pod.hub.connections if random.random() < churn]
        for client in leaving:
            pod.hub.remove(client)
        return len(leaving)


@pytest.mark.parametrize("choose", [at_random(1), at_random(2), in_turn()], ids=["1", "2", "turn"])
@pytest.mark.parametrize("counts", [(1_000, 0), (1_000, 1_000, 0), (600, 600, 600, 0, 0, 0)])
def test_counts_even_out_and_stay(counts: tuple[int, ...], choose: Choose) -> None:
    """Within the ratio of the mean; no full pod falls below the mean; then nothing moves."""
    balanced = Balanced(counts, choose)
    mean = balanced.total / len(counts)
    full = [pod for pod in balanced.pods if len(pod)]
    for _ in range(400):
        balanced.run(1)
        assert min(map(len, full)) >= mean
    sent = balanced.sent
    balanced.run(600)
    assert balanced.sent == sent, "no swinging"
    allowed = max(0.2 * mean, 4 * mean**0.5) + RATE * (10 / 3 + 2)
    assert max(map(len, balanced.pods)) <= mean + allowed + 1
    surplus = sum(count - mean for count in counts if count > mean)
    assert sent <= surplus * len(counts) / counts.count(0)


def test_a_high_rate_does_not_overshoot() -> None:
    """Heartbeats are old by then, so clients on their way are taken into account."""
    balanced = Balanced([4_000, 4_000, 0, 0], at_random(3), rebalance_per_second=200)
    full = balanced.pods[:2]
    for _ in range(120):
        balanced.run(1)
        assert min(map(len, full)) >= 2_000


def test_what_chance_makes_moves_nobody() -> None:
    """For half an hour, clients come and go, each to a random pod."""
    random.seed(4)
    choose = at_random(4)
    counts = [0] * 4
    for _ in range(1_200):
        counts[choose(4)] += 1
    balanced = Balanced(counts, choose)
    balanced.run(1_800, churn=0.002)
    assert balanced.sent == 0
