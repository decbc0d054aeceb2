import asyncio

import pytest

from tests.integration.pod import Pod
from tests.integration.sockets import opened, streamed, upgraded


@pytest.mark.parametrize("i", range(4))
async def test_x(pod: Pod, i):
    assert type(asyncio.get_running_loop()).__module__.startswith("uvloop")
    async with opened(pod) as c, upgraded(pod) as r, streamed(pod) as s:
        await s.welcomed()
        await pod.publish(data=b'{"a":1}')
        print(await c.receive(), await r.message(), await s.receive())
        assert await pod.metric("clarion_connections") == 3
