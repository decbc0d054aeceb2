"""What a process costs: memory, CPU and descriptors, as Linux counts them in /proc."""

from __future__ import annotations

from pathlib import Path

MIB = 1 << 20
_PEAK = "5"  # see proc(5), /proc/pid/clear_refs


class Meter:
    """Looks at one process."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")

    @property
    def resident_bytes(self) -> int:
        return self._status("VmRSS")

    @property
    def peak_bytes(self) -> int:
        """The most that was resident since `forget_peak`; the kernel keeps it, so no peak is missed."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        (self._folder / "clear_refs").write_text(_PEAK)

    @property
    def cpu_seconds(self) -> float:
        """Of all its threads, to the nanosecond."""
        total = 0
        for task in (self._folder / "task").iterdir():
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except OSError:  # the thread has ended
                continue
        return total / 1e9

    @property
    def sockets(self) -> int:
        """Open sockets."""
        return sum(self._is_socket(fd) for fd in (self._folder / "fd").iterdir())

    def _is_socket(self, fd: Path) -> bool:
        try:
            return str(fd.readlink()).startswith("socket:")
        except OSError:
            return False

    def _status(self, name: str) -> int:
        for line in (self._folder / "status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1_024
        return 0  # a zombie has no memory
