"""Answers that grow while a page watches. The writer is no model, but it writes like one.

README.md beside this file says how to run it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import jwt
from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel

from clarion.publisher import AsyncPublisher, ServiceToken

USER: Final = "alice"
"""The user that is logged in. A real application has sessions."""

TOKEN_SECONDS: Final = 600
TOKENS_PER_SECOND: Final = 20

_WORDS: Final = [
    "the",
    "a",
    "gateway",
    "socket",
    "event",
    "client",
    "sends",
    "holds",
    "waits",
    "and",
]


class Question(BaseModel):
    """A question, and how long its answer is to be."""

    text: str
    tokens: int = 200


def tokens(question: Question) -> Iterator[str]:
    """The tokens of an answer: the same ones for the same question."""
    chance = random.Random(question.text)  # noqa: S311 - no secret
    yield f"You asked “{question.text}”."
    for _ in range(question.tokens):
        yield f" {chance.choice(_WORDS)}"
    yield "."


async def write(publisher: AsyncPublisher, topic: str, question: Question) -> None:
    """Write an answer. If somebody stops it, the block is left in the middle."""
    async with publisher.stream(topic, "answer", id="answer") as out:
        for token in tokens(question):
            await out.write(token)
            await asyncio.sleep(1 / TOKENS_PER_SECOND)


@contextlib.asynccontextmanager
async def life(app: FastAPI) -> AsyncIterator[None]:
    """Open the publisher. At the end, answers that are still being written fail."""
    token = ServiceToken(os.environ["CLARION_JWT_SECRET"], "answers", ["publish:topic:answer.*"])
    async with AsyncPublisher(os.environ["PUBLISHER_URL"], token=token) as publisher:
        app.state.publisher = publisher
        app.state.writers = set[asyncio.Task[None]]()
        yield
        for writer in app.state.writers:
            writer.cancel()
        await asyncio.gather(*app.state.writers, return_exceptions=True)


app = FastAPI(title="Answers", lifespan=life)


@app.post("/answers/{number}", status_code=202)
async def ask(number: int, question: Question, request: Request) -> None:
    """Begin to write an answer."""
    state = request.app.state
    writer = asyncio.create_task(write(state.publisher, f"answer.{number}", question))
    state.writers.add(writer)  # the event loop keeps no reference
    writer.add_done_callback(state.writers.discard)


@app.post("/answers/{number}/stop")
async def stop(number: int, request: Request) -> str | None:
    """Stop an answer. It may be written by another process of this application."""
    state: str | None = await request.app.state.publisher.stop_stream(f"answer.{number}", "answer")
    return state


@app.get("/stream/{number}")
def stream(number: int) -> Response:
    """The address of the event stream with an answer, for the user's page."""
    claims = {"sub": USER, "exp": time.time() + TOKEN_SECONDS, "subscribe": [f"answer.{number}"]}
    token = jwt.encode(claims, os.environ["CLARION_JWT_SECRET"])
    query = f"topic=answer.{number}&last=1&token={token}"
    return Response(f"{os.environ['GATEWAY_URL']}/sse?{query}")


@app.get("/", include_in_schema=False)
def page() -> FileResponse:
    """The page."""
    return FileResponse(Path(__file__).parent / "page.html")
