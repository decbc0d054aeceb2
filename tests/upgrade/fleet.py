"""Two gateways and two publishers. Each of them runs the last release or the checkout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clarion_cli.process import Program
from tests.e2e.ports import free_ports
from tests.e2e.stack import Service, Stack, make_stack
from tests.upgrade.releases import Release

# Four processes start at once, beside whatever else the machine does.
READY_SECONDS = 90


@dataclass
class Pod:
    """One place in the fleet.

    Attributes:
        old: the program before the roll-out, and after the roll-back.
        new: the program in between.
    """

    service: Service
    old: Program
    new: Program

    @property
    def name(self) -> str:
        return self.old.name

    def replace(self, program: Program) -> None:
        """Drain the running program, then start ``program``, as a Deployment does."""
        self.service.terminate()
        assert self.service.wait() == 0, self.service.log.read_text()
        self.service.program = program
        self.service.start()
        self.service.wait_until_ready(READY_SECONDS)


@dataclass
class Fleet:
    """Everything on one Redis.

    Attributes:
        stack: both gateways and the first publisher.
        second: the second publisher.
        pods: in the order of a roll-out, with services of both kinds in turn.
    """

    stack: Stack
    second: Service
    pods: list[Pod]

    @property
    def publishers(self) -> list[Service]:
        return [self.stack.publisher, self.second]

    def is_new(self, service: Service) -> bool:
        """Whether a service runs the checkout."""
        return any(pod.service is service and service.program is pod.new for pod in self.pods)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start all pods as the old release; kill them at the end in any case."""
        try:
            for pod in self.pods:
                pod.service.program = pod.old
                pod.service.start()
            for pod in self.pods:
                pod.service.wait_until_ready(READY_SECONDS)
            yield
        finally:
            for pod in self.pods:
                pod.service.kill()


def make_fleet(
    folder: Path, redis_url: str, namespace: str, release: Release, **changes: str
) -> Fleet:
    """A fleet that is not started yet."""
    stack = make_stack(folder, redis_url, namespace, GATEWAY_DRAIN_SPREAD_SECONDS="0.2", **changes)
    second = _second_publisher(stack, folder)
    first, other = stack.gateways
    order = [first, stack.publisher, other, second]
    pods = [Pod(each, release.program(each.program), each.program) for each in order]
    return Fleet(stack, second, pods)


def _second_publisher(stack: Stack, folder: Path) -> Service:
    port = free_ports(2)
    program = stack.publisher.program
    own = {
        "CLARION_POD": "publisher-2",
        "PUBLISHER_PORT": str(port),
        "PUBLISHER_INTERNAL_PORT": str(port + 1),
    }
    return Service(
        Program("publisher-2", program.command, {**program.environment, **own}),
        f"http://127.0.0.1:{port}",
        f"http://127.0.0.1:{port + 1}",
        folder / "publisher-2.log",
    )
