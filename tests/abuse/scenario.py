"""One scenario: honest clients, one kind of hostile ones beside them, and judgement.

Three things are judged: what honest ones noticed (nothing), what the hostile ones were let do (each
kind says itself), and what it cost: memory below a ceiling, no traceback, no socket left behind.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from clarion_contract.identity.jwks import BUDGET_SECONDS, BURST_FETCHES
from tests.abuse.attack import Plan
from tests.abuse.honest import Honest
from tests.abuse.issuer import sign
from tests.abuse.meter import MIB, Meter
from tests.abuse.pods import Pods
from tests.abuse.table import Kind
from tests.chaos.ledger import Ledger
from tests.chaos.oracle import Verdict
from tests.cli.clarion import ROOT, environment

CEILING_BYTES: dict[str, int] = {"gateway": 64 * MIB, "publisher": 96 * MIB, "Valkey": 256 * MIB}
"""By how much a process may grow under attack.

The pods under attack hold a tenth of the connections, of the gateway's budgets for memory, and a
quarter of the bodies, that a pod with the chart's limit of 1 GiB may (`tests.abuse.pods`); what is to
fit there fits below these.
"""

_CLIENT_REPLAY_BYTES = 8 * MIB * 9 // 10
"""What one client is sent at most, less a little for what comes in meanwhile."""
_EVENT_OVERHEAD_BYTES = 400
_HOPELESS_BYTES = 2_500 * MIB
_HOSTILE_GRACE_SECONDS = 120.0
_FAULTS_SHOWN = 8
_SOCKETS_SPARE = 40
_SOCKETS_SECONDS = 30.0


@dataclass(frozen=True)
class Force:
    """How hard to attack: how long, and with how many connections."""

    seconds: float = 20.0
    connections: int = 400


@dataclass
class Report:
    """What came of it."""

    kind: str
    faults: list[str] = field(default_factory=list)
    counts: Mapping[str, int] = field(default_factory=dict)
    grown_bytes: dict[str, int] = field(default_factory=dict)
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    verdict: Verdict = field(default_factory=Verdict)

    def __str__(self) -> str:
        grown = ", ".join(
            f"{name} {size / MIB:+.0f} MiB" for name, size in self.grown_bytes.items()
        )
        cpu = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.cpu_seconds.items())
        did = ", ".join(f"{count:,} {what}" for what, count in self.counts.items())
        outcome = "FAILED" if self.faults else "held"
        lines = [
            f"{self.kind}: {outcome}; {self.verdict.delivered:,} of {self.verdict.due:,} deliveries",
            f"  at most: {grown}; CPU: {cpu}",
            f"  hostile: {did}",
            *(f"  - {fault}" for fault in self.faults[:_FAULTS_SHOWN]),
        ]
        if len(self.faults) > _FAULTS_SHOWN:
            lines.append(f"  - and {len(self.faults) - _FAULTS_SHOWN} more")
        return "\n".join(lines)


async def run(pods: Pods, ledger: Ledger, kind: Kind, force: Force, seed: int = 1) -> Report:
    """Run one kind against running pods."""
    ids = await asyncio.to_thread(pods.fill, *kind.history) if kind.history[0] else [0]
    newest = _CLIENT_REPLAY_BYTES // (kind.history[1] + _EVENT_OVERHEAD_BYTES)
    plan = _plan(pods, force, ids[0], ids[-newest:][0])
    scenario = _Scenario(pods, kind, Report(kind.name), plan)
    honest = Honest(pods, ledger, random.Random(seed), comers=not kind.crowds)
    report = scenario.report
    report.verdict = await honest.during(scenario.attack)
    report.faults += honest.noticed
    for what, found in report.verdict.faults.items():
        report.faults += [f"{what}: {len(found)}, such as {found[0]}"]
    await scenario.look()
    return report


def _plan(pods: Pods, force: Force, since: int, recent: int) -> Plan:
    return Plan(
        gateway=urlsplit(pods.gateway.url).port or 0,
        publisher=urlsplit(pods.publisher.url).port or 0,
        seconds=force.seconds,
        connections=force.connections,
        user_tokens=tuple(sign(f"mallory-{number}") for number in range(10)),
        service_token=pods.service_token("mallory"),
        since=since,
        recent=recent,
    )


class _Scenario:
    """The hostile side, and the meters."""

    def __init__(self, pods: Pods, kind: Kind, report: Report, plan: Plan) -> None:
        self._pods = pods
        self._kind = kind
        self._plan = plan
        self.report = report
        self._meters = pods.meters
        self._marks = pods.log_marks()
        self._asked = pods.issuer.asked
        self._sockets = {name: meter.sockets for name, meter in self._meters.items()}
        for meter in self._meters.values():
            meter.forget_peak()
        self._resident = {name: meter.resident_bytes for name, meter in self._meters.items()}

    async def attack(self) -> None:
        """Let hostile clients loose, in a process of their own, and wait until they are done."""
        began = time.monotonic()
        spent = {name: meter.cpu_seconds for name, meter in self._meters.items()}
        hostile = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.abuse.hostile", self._kind.name),
            cwd=ROOT,
            env=environment(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        watching = asyncio.create_task(self._stop_when_hopeless(hostile))
        try:
            async with asyncio.timeout(self._plan.seconds + _HOSTILE_GRACE_SECONDS):
                output, errors = await hostile.communicate(self._plan.encode().encode())
        except TimeoutError:
            self.report.faults.append("the hostile clients were not done in time")
            return
        finally:
            watching.cancel()
            if hostile.returncode is None:
                hostile.kill()
                await hostile.wait()
        for name, meter in self._meters.items():
            self.report.cpu_seconds[name] = meter.cpu_seconds - spent[name]
        if hostile.returncode != 0:
            last = errors.decode(errors="replace").strip()[-2_000:]
            self.report.faults.append(
                f"the hostile clients ended with {hostile.returncode}: {last}"
            )
            return
        told = json.loads(output)
        self.report.counts = told["counts"]
        self.report.faults += [f"{count} times: {what}" for what, count in told["faults"].items()]
        elapsed = time.monotonic() - began
        # One more for keys that are refreshed, and one for the signature of an unknown key.
        most = BURST_FETCHES + elapsed / BUDGET_SECONDS + 2
        if self._pods.issuer.asked - self._asked > most:
            asked = self._pods.issuer.asked - self._asked
            self.report.faults.append(f"the issuer was asked {asked} times")

    async def look(self) -> None:
        """Memory, logs, sockets, and whether everybody is still alive."""
        for name, meter in self._meters.items():
            grown = meter.peak_bytes - self._resident[name]
            self.report.grown_bytes[name] = grown
            if grown > CEILING_BYTES[name]:
                self.report.faults.append(
                    f"{name} grew by {grown / MIB:.0f} MiB, "
                    f"expected at most {CEILING_BYTES[name] / MIB:.0f}"
                )
        self.report.faults += self._pods.severe(self._marks)[:3]
        for service in (self._pods.gateway, self._pods.publisher):
            if service.process is not None and service.process.poll() is not None:
                self.report.faults.append(f"{service.program.name} has ended")
                return
        for name in ("gateway", "publisher"):
            meter, before = self._meters[name], self._sockets[name]
            if not await _comes_down(meter, before + _SOCKETS_SPARE):
                self.report.faults.append(f"{name}: {meter.sockets} sockets, before {before}")

    async def _stop_when_hopeless(self, hostile: asyncio.subprocess.Process) -> None:
        """The machine has others to serve."""
        while True:
            for name, meter in self._meters.items():
                if meter.resident_bytes > _HOPELESS_BYTES:
                    self.report.faults.append(
                        f"{name} took {_HOPELESS_BYTES / MIB:.0f} MiB: stopped"
                    )
                    hostile.kill()
                    return
            await asyncio.sleep(0.1)


async def _comes_down(meter: Meter, sockets: int) -> bool:
    ends = time.monotonic() + _SOCKETS_SECONDS
    while meter.sockets > sockets:
        if time.monotonic() > ends:
            return False
        await asyncio.sleep(0.1)
    return True
