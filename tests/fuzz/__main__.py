"""`make fuzz`: each target for a while, with a coverage-guided fuzzer (atheris) where there is one.

What it learns stays in `.clarion/fuzz/`, so that the next run goes on from there. An input that
breaks something is kept there too, and named with the command that tries it again.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import time
from pathlib import Path

from tests.fuzz import mutation
from tests.fuzz.target import CORPUS, MAX_BYTES, Target

_LEARNT = Path(".clarion") / "fuzz"
_INPUT_SECONDS = 30
_MEMORY_MAX_MB = 2_048
_GRACE_SECONDS = 120
_PACKAGES = ["clarion_contract", "clarion_gateway", "clarion_publisher", "jwt", "websockets"]


def main() -> int:
    """Returns the exit code: 1 when an input broke something."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("--target", action="append", help="one of them; again for more")
    parser.add_argument("--seed", type=int, default=1, help="of the plain mutations")
    parser.add_argument("--input", type=Path, help="try this one file instead")
    parser.add_argument("--guided", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.guided:
        (name,) = options.target
        return _guided(name, options.seconds)
    targets = _targets()
    names = options.target or list(targets)
    unknown = sorted(set(names) - set(targets))
    if unknown:
        parser.error(f"expected targets out of {', '.join(targets)}, got {', '.join(unknown)}")
    if options.input is not None:
        for name in names:
            targets[name].run(options.input.read_bytes())
        return 0
    guided = importlib.util.find_spec("atheris") is not None
    if not guided:
        print(
            "atheris is not installed (it has wheels for Linux on x86-64 and Python 3.11 to 3.13)"
        )
        print("plain random mutations instead, which find less")
    broken = []
    for name in names:
        print(f"{name}: {options.seconds:g} s", flush=True)
        sound = (
            _guided_in_a_process(name, options.seconds)
            if guided
            else _mutated(targets[name], options.seconds, options.seed)
        )
        if not sound:
            broken.append(name)
    print(f"broken: {', '.join(broken) or 'none'}")
    return 1 if broken else 0


def _targets() -> dict[str, Target]:
    from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - only once atheris watches imports

    return TARGETS


def _mutated(target: Target, seconds: float, seed: int) -> bool:
    """Mutations by chance; whether all of them were taken well."""
    ends, tried = time.monotonic() + seconds, 0
    for data in mutation.inputs(target.corpus(), seed):
        if time.monotonic() > ends:
            break
        tried += 1
        try:
            target.run(data)
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            kept = _learnt(target.name) / f"crash-{tried}"
            kept.write_bytes(data)
            print(f"  {type(error).__name__}: {error}\n  {data!r}\n  {_again(target.name, kept)}")
            return False
    print(f"  {tried} inputs")
    return True


def _guided_in_a_process(name: str, seconds: float) -> bool:
    """A process of its own: libFuzzer ends it."""
    command = [
        *(sys.executable, "-m", "tests.fuzz", "--guided"),
        *("--target", name, "--seconds", f"{seconds:g}"),
    ]
    before = set(_learnt(name).glob("*-*"))
    log = _learnt(name).with_suffix(".log")
    with log.open("wb") as output:
        try:
            code = subprocess.run(
                command, check=False, stdout=output, stderr=output, timeout=seconds + _GRACE_SECONDS
            ).returncode
        except subprocess.TimeoutExpired:
            code = -1
    lines = log.read_text(errors="replace").splitlines()
    if code == 0:
        done = [line for line in lines if line.startswith("Done ")]
        print(f"  {done[-1] if done else 'ended'}")
        return True
    print("\n".join(f"  {line}" for line in lines[-60:]))
    for kept in sorted(set(_learnt(name).glob("*-*")) - before):
        print(f"  {_again(name, kept)}")
    return False


def _guided(name: str, seconds: float) -> int:
    """Let atheris run one target; does not return but on a failure to start."""
    import atheris  # noqa: PLC0415 - an extra of its own

    with atheris.instrument_imports(include=_PACKAGES):
        target = _targets()[name]
    _silence()
    folder = _learnt(name)
    arguments = [
        sys.argv[0],
        *(str(folder), str(CORPUS / name)),
        f"-max_total_time={max(1, round(seconds))}",
        f"-max_len={MAX_BYTES}",
        f"-timeout={_INPUT_SECONDS}",
        f"-rss_limit_mb={_MEMORY_MAX_MB}",
        f"-artifact_prefix={folder}/",
        "-print_final_stats=1",
    ]
    atheris.Setup(arguments, target.run)
    atheris.Fuzz()
    return 0


def _silence() -> None:
    """What is refused is logged, thousands of times a second."""
    import logging  # noqa: PLC0415

    import structlog  # noqa: PLC0415

    def drop(*_: object) -> str:
        raise structlog.DropEvent

    structlog.configure(processors=[drop])
    logging.getLogger().addHandler(logging.NullHandler())


def _learnt(name: str) -> Path:
    folder = _LEARNT / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _again(name: str, kept: Path) -> str:
    return f"again: make fuzz ARGS='--target {name} --input {kept}'"


if __name__ == "__main__":
    sys.exit(main())
