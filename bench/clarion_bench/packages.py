"""The npm packages of the peers: installed on first use into the user's cache, never into git.

Node looks for packages next to the script that imports them, so the peers' scripts are copied there
as well. The folder's name holds a digest of package.json, so new versions get a new folder.
"""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).parent / "peers"
_INSTALL_SECONDS = 300


class PackagesError(RuntimeError):
    """Node or npm is missing, or the packages could not be installed."""


def cache_directory() -> Path:
    """Return the folder in which peers are installed: under $XDG_CACHE_HOME or ~/.cache."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    digest = hashlib.sha256((SOURCE / "package.json").read_bytes()).hexdigest()[:12]
    return Path(root) / "clarion" / "bench" / digest


def install() -> Path:
    """Install the peers' packages unless they are there; return the folder of their scripts."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise PackagesError("the Node peers need node and npm on PATH (Node 20 or newer)")
    target = cache_directory()
    target.mkdir(parents=True, exist_ok=True)
    for file in [*SOURCE.glob("*.mjs"), SOURCE / "package.json", SOURCE / ".npmrc"]:
        shutil.copy(file, target / file.name)
    done = target / ".installed"
    if not done.exists():
        # Without install scripts: they only build optional speed-ups for receiving, unused here.
        command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund"]
        try:
            subprocess.run(
                command, cwd=target, check=True, capture_output=True, timeout=_INSTALL_SECONDS
            )
        except subprocess.CalledProcessError as error:
            message = error.stderr.decode(errors="replace").strip()
            raise PackagesError(f"npm install failed in {target}:\n{message}") from error
        except subprocess.TimeoutExpired as error:
            raise PackagesError(f"npm install took over {_INSTALL_SECONDS} s") from error
        done.touch()
    return target


def versions() -> dict[str, str]:
    """Return the pinned version of each peer's package."""
    dependencies = json.loads((SOURCE / "package.json").read_text())["dependencies"]
    return {str(name): str(version) for name, version in dependencies.items()}
