"""A real Prometheus, with the configuration that we ship."""

from __future__ import annotations

import math
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from tests.observability.files import ALERTS, SCRAPE, load_yaml

READY_SECONDS: Final = 20
SCRAPE_SECONDS: Final = 0.5

Series = list[tuple[dict[str, str], list[float]]]
Drawn = list[tuple[dict[str, str], list[tuple[float, float]]]]
"""Each series' labels, and its points: seconds since the epoch, value."""


class Prometheus:
    """One process; it scrapes from `start` on, and answers until `kill`."""

    def __init__(
        self,
        folder: Path,
        port: int,
        targets: Mapping[str, str],
        scrape_seconds: float = SCRAPE_SECONDS,
    ) -> None:
        """``targets``: each address in the shipped configuration, and the real one. Without any,
        Prometheus only answers from what it recorded in this folder before."""
        self._scrape_seconds = scrape_seconds
        self._folder = folder
        self._targets = targets
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}/api/v1", trust_env=False, timeout=60
        )

    def start(self) -> None:
        config = self._folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(self._config()))
        with (self._folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={config}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + READY_SECONDS
        while not self._scrapes_all():
            assert self._process.poll() is None, (self._folder / "prometheus.log").read_text()
            assert time.monotonic() < deadline, "Prometheus does not scrape everything"
            time.sleep(0.1)

    def _scrapes_all(self) -> bool:
        """Whether all targets are scraped, which takes some seconds after Prometheus is ready."""
        try:
            if not self._targets:
                return bool(self.get("/query", query="vector(1)"))
            (up,) = self.get("/query", query="sum (up)")["result"]
        except (httpx.HTTPError, AssertionError, ValueError):
            return False
        return float(up["value"][1]) == len(self._targets)

    def last_scrape(self) -> float:
        """When the target that was scraped longest ago was scraped, in seconds since 1970."""
        (found,) = self.get("/query", query="min(timestamp(up))")["result"]
        return float(found["value"][1])

    def kill(self) -> None:
        self._client.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def get(self, path: str, **parameters: Any) -> Any:
        response = self._client.get(path, params=parameters)
        assert response.is_success, response.text
        return response.json()["data"]

    def over(self, expr: str, start: float, end: float, step: float = SCRAPE_SECONDS) -> Series:
        """The values that a panel would draw: each series' labels and its finite values. Series
        without any are left out."""
        return [
            (labels, [value for _, value in points])
            for labels, points in self.drawn(expr, start, end, step)
        ]

    def drawn(self, expr: str, start: float, end: float, step: float = SCRAPE_SECONDS) -> Drawn:
        """The values that a panel would draw, with their times."""
        data = self.get("/query_range", query=expr, start=start, end=end, step=step)
        drawn = []
        for result in data["result"]:
            points = [(float(time), float(value)) for time, value in result["values"]]
            if finite := [point for point in points if math.isfinite(point[1])]:
                drawn.append((result["metric"], finite))
        return drawn

    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = load_yaml(SCRAPE)
        interval = f"{self._scrape_seconds * 1000:.0f}ms"
        config["global"] = {
            "scrape_interval": interval,
            "scrape_timeout": interval,
            "evaluation_interval": "1s",
        }
        config["rule_files"] = [str(ALERTS)]
        if not self._targets:
            del config["scrape_configs"]
            return config
        for job in config["scrape_configs"]:
            for static in job["static_configs"]:
                static["targets"] = [self._targets[target] for target in static["targets"]]
        return config
