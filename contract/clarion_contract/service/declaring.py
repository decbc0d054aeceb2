"""Begins with the catalogue that a service's settings name, and shows its state as metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge

from clarion_contract.events.catalogue import InvalidCatalogue
from clarion_contract.service.declared_events import (
    FINDINGS,
    DeclaredEvents,
    Finding,
    Undeclared,
)
from clarion_contract.service.settings import InvalidSettings


class DeclaringSettings(Protocol):
    """The settings that matter here."""

    @property
    def catalogue(self) -> Path | None:
        """The path of the declarations."""
        ...

    @property
    def undeclared(self) -> Undeclared:
        """The treatment of types that are not declared."""
        ...


class CatalogueMetrics:
    """The catalogue's metrics.

    Args:
        prefix: of their names: that of the service.
    """

    def __init__(self, registry: CollectorRegistry, prefix: str) -> None:
        self._findings = Counter(
            f"{prefix}_catalogue_findings_total",
            "Events that differ from their declaration, by finding: undeclared, deprecated, "
            "invalid. The setting for undeclared types decides whether those are refused.",
            ["finding"],
            registry=registry,
        )
        self._declared = Gauge(
            f"{prefix}_catalogue_declared",
            "Types and patterns of types that the catalogue in force declares.",
            registry=registry,
        )
        self._broken = Gauge(
            f"{prefix}_catalogue_broken",
            "1 while the catalogue's files have a mistake; the one before them is in force.",
            registry=registry,
        )
        for finding in FINDINGS:
            self._findings.labels(finding)

    def count(self, finding: Finding) -> None:
        """One event was found to differ."""
        self._findings.labels(finding).inc()

    def observe(self, declared: DeclaredEvents) -> None:
        """Read the gauges from their owner at each scrape."""
        self._declared.set_function(declared.__len__)
        self._broken.set_function(lambda: declared.problem is not None)


def declared_events(
    settings: DeclaringSettings, metrics: CatalogueMetrics
) -> DeclaredEvents | None:
    """The catalogue that the settings name; None: they name none.

    Raises:
        InvalidSettings: its files are no catalogue, so the service must not start.
    """
    if settings.catalogue is None:
        return None
    try:
        declared = DeclaredEvents(
            settings.catalogue, undeclared=settings.undeclared, count=metrics.count
        )
    except InvalidCatalogue as error:
        raise InvalidSettings(
            [f"CLARION_CATALOGUE: {problem}" for problem in error.problems]
        ) from None
    metrics.observe(declared)
    return declared
