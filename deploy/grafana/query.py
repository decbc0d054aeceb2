"""PromQL for both dashboards: selectors, rates, quantiles."""

from __future__ import annotations

from typing import Final

GATEWAYS: Final = 'namespace=~"$namespace", pod=~"$pod"'
"""The gateway pods that the user chose at the top of a dashboard."""

PUBLISHERS: Final = 'namespace=~"$namespace"'
"""All publisher pods of the namespace, since the variable lists only gateways."""

VERIFIED_SECONDS: Final = 10
"""GATEWAY_PROBE_INTERVAL_SECONDS plus GATEWAY_PROBE_TIMEOUT_SECONDS, with their defaults. If the
last probe is older, a pod does not hear Redis."""

DRAINING: Final = f"max by (namespace, pod) (clarion_draining{{{GATEWAYS}}}) == 1"


def gauge(metric: str, *matchers: str, pods: str = GATEWAYS) -> str:
    """A metric with its matchers."""
    return f"{metric}{{{', '.join([pods, *matchers])}}}"


def rate(metric: str, *matchers: str, by: str = "", pods: str = GATEWAYS) -> str:
    """A counter's rate per second, summed over all pods or by these labels."""
    return f"{_sum(by)} (rate({gauge(metric, *matchers, pods=pods)}[$__rate_interval]))"


def increase(metric: str, *matchers: str, by: str = "", pods: str = GATEWAYS) -> str:
    """A counter's increase between two points, for events too rare for a rate."""
    return f"{_sum(by)} (increase({gauge(metric, *matchers, pods=pods)}[$__rate_interval]))"


def in_range(metric: str, *matchers: str, by: str = "", pods: str = GATEWAYS) -> str:
    """A counter's increase over the whole range of the dashboard, for a single figure."""
    return f"{_sum(by)} (increase({gauge(metric, *matchers, pods=pods)}[$__range]))"


def of_gateways(expr: str) -> str:
    """Only the series of gateway pods, for metrics that every Python process has."""
    return f"{expr} and on (namespace, pod) {gauge('clarion_connections_max')}"


def of_publishers(expr: str) -> str:
    """Only the series of publisher pods."""
    return f"{expr} and on (namespace, pod) {gauge('clarion_publisher_pending', pods=PUBLISHERS)}"


def quantile(share: float, metric: str, *, by: str = "", pods: str = GATEWAYS) -> str:
    """A quantile of a histogram over all pods, or by these labels."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, {rate(f'{metric}_bucket', by=labels, pods=pods)})"


def mean(metric: str, *, by: str = "", pods: str = GATEWAYS) -> str:
    """The mean of a histogram's observations."""
    total = rate(f"{metric}_sum", by=by, pods=pods)
    return f"{total} / {rate(f'{metric}_count', by=by, pods=pods)}"


def or_none(expr: str) -> str:
    """``expr``; 0 if pods are watched and a counter with labels has no series yet."""
    return f"{expr} or 0 * sum ({gauge('clarion_connections_max')})"


def _sum(by: str) -> str:
    return f"sum by ({by})" if by else "sum"
