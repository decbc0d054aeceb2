"""Evens out connections after a scale-up: a pod with far more than its share sends some elsewhere.

Open connections do not move by themselves, so new pods would stay empty for long. The answer to
each heartbeat has the loads of all pods (`clarion_gateway.fleet.presence`). There is no leader:
each pod decides for itself. It is off by default. docs/decisions/0014-rebalancing.md has the
reasons and the simulation.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Final

import structlog

from clarion_contract.bus.presence import Pods
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.connection import Connection, State
from clarion_gateway.connections.hub import Hub
from clarion_gateway.metrics.registry import Metrics
from clarion_gateway.settings import GatewaySettings

_TICK_SECONDS: Final = 1.0
# In standard deviations of a binomial distribution, each less than sqrt(mean). If a load balancer
# spreads connections at random, a pod exceeds this only once in 16,000 times.
_DEVIATIONS: Final = 4.0
# How many connections may be sent elsewhere: so many times the number that is needed if the load
# balancer spreads them at random.
_PATIENCE: Final = 1.5
# How long the pod waits after rebalancing did not help; each further time, twice as long.
_REST_SECONDS: Final = 600.0
_REST_MAX_SECONDS: Final = 6 * 3_600.0
# From a close until a heartbeat of another pod can count the client: the time that the client was
# told to wait, and a tick.
_UNDER_WAY_SECONDS: Final = 2.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Share:
    """The number of connections that a pod should hold.

    Attributes:
        enough: the number at which rebalancing stops; above the mean.
        most: the number above which it begins.
        attempts: how many clients have to be sent elsewhere for one to arrive at an emptier pod,
            since the load balancer leads some to full pods again.
    """

    enough: int
    most: int
    attempts: float


class Rebalancing:
    """Sends a pod's excess connections elsewhere, at a bounded rate.

    Args:
        pods: returns the pods as of the last heartbeat, without a name while they are not known.
        ready: returns whether this pod takes new clients itself.
        is_busy: returns whether a client waits for the reply of a handler.
    """

    def __init__(
        self,
        hub: Hub,
        pods: Callable[[], Pods],
        ready: Callable[[], bool],
        is_busy: Callable[[Connection], bool],
        metrics: Metrics,
        settings: GatewaySettings,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hub = hub
        self._pods = pods
        self._ready = ready
        self._is_busy = is_busy
        self._metrics = metrics
        self._ratio = settings.rebalance_ratio
        self._per_second = settings.rebalance_per_second
        self._under_way = self._per_second * (settings.beat_seconds + _UNDER_WAY_SECONDS)
        self._clock = clock
        # How many connections may still be sent elsewhere; 0: it is not rebalancing.
        self._left = 0
        self._allowance = 0.0
        self._rest_seconds = _REST_SECONDS
        self._rests_until = -math.inf

    async def run(self) -> None:
        """Call `step` once a second, for ever."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            self.step()

    def step(self) -> None:
        """Send as many connections elsewhere as one second allows, if the pod has too many."""
        pods = self._pods()
        said = pods.own_load
        if said is None or not self._ready():
            self._left = 0
            return
        share = self._share(pods)
        # The heartbeat's number and the present one, the lower of both: clients that came since the
        # heartbeat are not in the mean, and clients that were sent elsewhere since are.
        held = min(said.connections, len(self._hub))
        if self._left == 0 and held > share.most and self._clock() >= self._rests_until:
            self._left = math.ceil((held - share.enough) * share.attempts * _PATIENCE)
            _log.info("rebalancing", connections=held, enough=share.enough, pods=len(pods.loads))
        if self._left == 0:
            return
        if held <= share.enough:
            self._left = 0
            self._rest_seconds = _REST_SECONDS
            _log.info("rebalanced", connections=held)
            return
        self._send_on(min(held - share.enough, self._left))
        if self._left == 0:
            # The clients come back to this pod, or no other pod takes them. To go on would only
            # disturb them.
            self._rests_until = self._clock() + self._rest_seconds
            self._rest_seconds = min(2 * self._rest_seconds, _REST_MAX_SECONDS)
            _log.warning("rebalancing does not help", connections=held, enough=share.enough)

    def _share(self, pods: Pods) -> _Share:
        counts = [
            load.connections
            for name, load in pods.loads.items()
            if load.ready or name == pods.name  # this pod is ready: `step` has checked that
        ]
        mean = fmean(counts)
        attempts = len(counts) / sum(count <= mean for count in counts)
        tolerated = max(self._ratio * mean, _DEVIATIONS * math.sqrt(mean))
        # Clients on their way to another pod are in no pod's count, so the true mean is higher.
        enough = mean + max(tolerated / 2, self._under_way)
        return _Share(math.ceil(enough), math.ceil(enough + tolerated / 2), attempts)

    def _send_on(self, most: int) -> None:
        self._allowance = self._allowance % 1.0 + self._per_second * _TICK_SECONDS
        count = min(most, int(self._allowance))
        connections = list(itertools.islice(filter(self._is_idle, self._hub.connections), count))
        for connection in connections:
            connection.send_elsewhere(close_codes.REBALANCING)
        self._allowance -= len(connections)
        self._left -= len(connections)
        self._metrics.rebalanced.inc(len(connections))

    def _is_idle(self, connection: Connection) -> bool:
        """Whether a connection is live and does not wait for the reply of a handler."""
        return connection.state is State.LIVE and not self._is_busy(connection)
