"""Passes the caller's trace on, where the application uses OpenTelemetry."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def _no_trace() -> Mapping[str, str]:
    return {}


def trace_reader() -> Callable[[], Mapping[str, str]]:
    """A function that returns the headers of the current trace (W3C Trace Context, and baggage).

    OpenTelemetry is optional, and it is imported here and not above: it costs every program 0.1 s.
    """
    try:
        propagate: Any = importlib.import_module("opentelemetry.propagate")
    except ImportError:
        return _no_trace

    def headers() -> Mapping[str, str]:
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        return carrier

    return headers
