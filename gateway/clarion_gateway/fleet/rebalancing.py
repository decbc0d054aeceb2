"""Evens out connections after a scale-up: a pod that holds far more than its share sends some on.

Open connections do not move by themselves, so pods that came later stay empty until clients change.
The answer to each heartbeat tells what all pods hold (`clarion_gateway.fleet.presence`);
nobody leads, each pod looks at itself alone. Off unless it is asked for.
docs/decisions/0014-rebalancing.md has the reasons and the simulation.
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
# What a load balancer deals out at random differs from the mean by more than that only once in
# 16,000 times: standard deviations of a binomial distribution, which is below the mean's root.
_DEVIATIONS: Final = 4.0
# How many may be sent on, times what a load balancer that deals out at random makes necessary.
_PATIENCE: Final = 1.5
# After it did not help; twice as long each time that it does not help again.
_REST_SECONDS: Final = 600.0
_REST_MAX_SECONDS: Final = 6 * 3_600.0
# From the close to where the next heartbeat counts the client: its hint, and a tick.
_UNDER_WAY_SECONDS: Final = 2.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Share:
    """What a pod should hold.

    Attributes:
        enough: where sending on stops; above the mean.
        most: where it begins.
        attempts: how many have to be sent on for one to leave: some are led to full pods again.
    """

    enough: int
    most: int
    attempts: float


class Rebalancing:
    """Sends on what this pod holds too much, at a bounded rate.

    Args:
        pods: who is there, as of a short while ago; without a name while that is not known.
        ready: whether this pod takes new clients itself.
        is_busy: whether a client waits for the reply of a handler.
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
        # How many may still be sent on; 0: it is not rebalancing.
        self._left = 0
        self._allowance = 0.0
        self._rest_seconds = _REST_SECONDS
        self._rests_until = -math.inf

    async def run(self) -> None:
        """Look once a second, for ever."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            self.step()

    def step(self) -> None:
        """Send on what one second allows, if there is too much."""
        pods = self._pods()
        said = pods.own_load
        if said is None or not self._ready():
            self._left = 0
            return
        share = self._share(pods)
        # Who came since the heartbeat is not in the mean either; who was sent on since is.
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
            # They come back here, or nobody else takes them: to go on would harm without use.
            self._rests_until = self._clock() + self._rest_seconds
            self._rest_seconds = min(2 * self._rest_seconds, _REST_MAX_SECONDS)
            _log.warning("rebalancing does not help", connections=held, enough=share.enough)

    def _share(self, pods: Pods) -> _Share:
        counts = [
            load.connections
            for name, load in pods.loads.items()
            if load.ready or name == pods.name  # this one is, by now
        ]
        mean = fmean(counts)
        attempts = len(counts) / sum(count <= mean for count in counts)
        tolerated = max(self._ratio * mean, _DEVIATIONS * math.sqrt(mean))
        # Clients under way from one pod to another stand in nobody's count: the mean is higher.
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
        """Neither catching up nor waiting for the reply of a handler."""
        return connection.state is State.LIVE and not self._is_busy(connection)
