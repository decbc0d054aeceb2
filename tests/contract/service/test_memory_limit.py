"""`clarion_contract.service.memory_limit`: the smallest limit counts, whoever set it."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from clarion_contract.service.memory_limit import memory_limit_bytes

MIB = 1 << 20
PHYSICAL_BYTES = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


class Cgroups:
    """A made-up /sys/fs/cgroup."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "cgroup"
        self.root.mkdir()
        self._membership = folder / "membership"

    def file(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def limit(self, membership: str) -> int:
        self._membership.write_text(membership)
        return memory_limit_bytes(cgroups=self.root, membership=self._membership)


@pytest.fixture
def cgroups(tmp_path: Path) -> Cgroups:
    return Cgroups(tmp_path)


def test_version_2(cgroups: Cgroups) -> None:
    cgroups.file("pods/one/memory.max", f"{300 * MIB}\n")
    assert cgroups.limit("0::/pods/one\n") == 300 * MIB


def test_an_outer_group_that_is_smaller_counts(cgroups: Cgroups) -> None:
    cgroups.file("pods/memory.max", f"{200 * MIB}\n")
    cgroups.file("pods/one/memory.max", "max\n")
    assert cgroups.limit("0::/pods/one\n") == 200 * MIB


def test_a_namespace_of_its_own_shows_the_group_as_the_root(cgroups: Cgroups) -> None:
    cgroups.file("memory.max", f"{100 * MIB}\n")
    assert cgroups.limit("0::/kubepods/somewhere/else\n") == 100 * MIB
    assert cgroups.limit("0::/\n") == 100 * MIB


def test_version_1(cgroups: Cgroups) -> None:
    cgroups.file("memory/docker/1/memory.limit_in_bytes", f"{400 * MIB}\n")
    cgroups.file("cpu/docker/1/memory.limit_in_bytes", f"{MIB}\n")
    assert cgroups.limit("5:cpu:/docker/1\n4:memory:/docker/1\n0::/\n") == 400 * MIB


@pytest.mark.parametrize("text", ["max\n", "9223372036854771712\n", "", "0\n"])
def test_without_a_limit_the_machine_is_the_limit(cgroups: Cgroups, text: str) -> None:
    cgroups.file("memory.max", text)
    assert cgroups.limit("0::/\n") == PHYSICAL_BYTES
    assert cgroups.limit("") == PHYSICAL_BYTES


@pytest.mark.parametrize("which", [resource.RLIMIT_AS, resource.RLIMIT_DATA])
def test_a_limit_of_the_process_counts(which: int) -> None:
    """In a process of its own: a limit cannot be raised again."""
    program = (
        "import resource\n"
        "from clarion_contract.service.memory_limit import memory_limit_bytes\n"
        f"resource.setrlimit({which}, ({200 * MIB}, {200 * MIB}))\n"
        "print(memory_limit_bytes())"
    )
    output = subprocess.run(
        (sys.executable, "-c", program), capture_output=True, text=True, check=True
    )
    assert int(output.stdout) == 200 * MIB
