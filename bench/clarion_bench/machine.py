"""The machine a benchmark ran on, without which its numbers mean little."""

import datetime as dt
import os
import platform
import shlex
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import redis

from clarion_bench import packages
from clarion_bench.results import Machine

_PYTHON_PACKAGES = ("fastapi", "uvicorn", "uvloop", "websockets", "redis")


def describe(redis_url: str, *, pinned: bool) -> Machine:
    """Describe this machine, the command line and the versions of all programs involved."""
    return Machine(
        time=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        command=_command(),
        cpu=_cpu(),
        cores=os.cpu_count() or 1,
        pinned=pinned,
        kernel=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        node=_output("node", "--version"),
        redis=_redis(redis_url),
        python_packages=_python_versions(),
        node_packages=packages.versions(),
    )


def _command() -> str:
    program = Path(sys.argv[0])
    words = ["python", "-m", "clarion_bench"] if program.name == "__main__.py" else [program.name]
    return shlex.join([*words, *sys.argv[1:]])


def _cpu() -> str:
    """Name the processor: /proc on Linux, sysctl on macOS."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor()


def _output(*command: str) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    return done.stdout.strip() or None


def _redis(url: str) -> str:
    with redis.Redis.from_url(url) as client:
        info: dict[str, str] = client.info("server")
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info['redis_version']}"


def _python_versions() -> dict[str, str]:
    found = {}
    for name in _PYTHON_PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
