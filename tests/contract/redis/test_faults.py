"""`clarion_contract.redis.faults`: the words in which servers of several versions refuse."""

from __future__ import annotations

import pytest
from redis.exceptions import ClusterDownError, NoPermissionError, RedisError, ResponseError

from clarion_contract.redis import faults
from clarion_contract.redis.faults import Fault, fault_of, unavailable


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        # Redis 7.0 tells of what a script may not do in words of its own.
        (
            ResponseError("The user executing the script can't publish to the channel mentioned"),
            faults.PERMISSIONS,
        ),
        (
            ResponseError("The user executing the script can't run this command or subcommand"),
            faults.PERMISSIONS,
        ),
        (NoPermissionError("this user has no permissions to run 'evalsha'"), faults.PERMISSIONS),
        (ResponseError("NOPERM ACL failure in script: No permissions"), faults.PERMISSIONS),
        (ResponseError("unknown command 'PEXPIRETIME'"), faults.VERSION),
        (ResponseError("Unknown Redis command called from script"), faults.VERSION),
        (ClusterDownError("Hash slot not served"), faults.CLUSTER_NODE),
        # A long command without a password.
        (ResponseError("Protocol error: unauthenticated multibulk length"), faults.LOGIN),
        (RedisError("Connection closed by server."), None),
        (ResponseError("LOADING Redis is loading the dataset in memory"), None),
        (ResponseError("NOREPLICAS Not enough good replicas to write."), None),
    ],
)
def test_the_fault_behind_an_error(error: Exception, fault: Fault | None) -> None:
    assert fault_of(error) is fault
    assert unavailable(error).fault is fault


def test_a_slot_of_a_cluster_that_moves_or_is_not_served_yet_is_no_fault() -> None:
    assert fault_of(ClusterDownError("Hash slot not served"), clustered=True) is None
