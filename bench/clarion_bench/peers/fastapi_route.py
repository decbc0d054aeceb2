"""A plain FastAPI WebSocket route, as a team would write it by hand, to compare Clarion with.

Usage: python fastapi_route.py PORT REDIS_URL CHANNEL. Accepts connections once it is subscribed.
uvicorn runs like `uvicorn[standard]`: with uvloop and httptools if installed, without access log.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

PORT, REDIS_URL, CHANNEL = int(sys.argv[1]), sys.argv[2], sys.argv[3]
connections: set[WebSocket] = set()


async def broadcast(pubsub: PubSub) -> None:
    """Send every message of the channel to every connection, one after another."""
    async for message in pubsub.listen():
        if message["type"] != "message":
            continue
        for websocket in list(connections):
            # If a socket closes meanwhile, its own route removes it.
            with suppress(WebSocketDisconnect, RuntimeError):
                await websocket.send_text(message["data"])


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Subscribe before the first connection, and stop with the application."""
    async with Redis.from_url(REDIS_URL, decode_responses=True) as redis, redis.pubsub() as pubsub:
        await pubsub.subscribe(CHANNEL)
        task = asyncio.create_task(broadcast(pubsub))
        yield
        task.cancel()


app = FastAPI(lifespan=lifespan)


@app.websocket("/ws")
async def events(websocket: WebSocket) -> None:
    """Hold a connection until it closes."""
    await websocket.accept()
    connections.add(websocket)
    try:
        while True:
            await websocket.receive_text()
    except WebSocketDisconnect:
        pass
    finally:
        connections.discard(websocket)


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning", access_log=False)
