"""An auction's handlers: watch a lot, and bid. README.md beside this file explains them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Annotated

from pydantic import BaseModel, Field

from clarion import Context, Handlers, Refusal, SubscribeContext, authenticated_only, topic
from clarion_examples.auction import store
from clarion_examples.auction.store import LOTS, Store

handlers = Handlers()


class Watch(BaseModel):
    """A client's wish to see a lot."""

    lot: int


class Bid(BaseModel):
    """A client's bid."""

    lot: int
    cents: Annotated[int, Field(gt=0, le=100_000_000)]


class Lot(BaseModel):
    """The state of a lot: the reply to both, and the event of type ``lot.bid``."""

    lot: int
    name: str
    cents: int
    bidder: str | None


@handlers.lifespan
@contextlib.asynccontextmanager
async def database() -> AsyncIterator[Store]:
    """Open the bids once for each gateway process: handlers find them as ``context.state``."""
    async with store.opened() as opened:
        yield opened


@handlers.on_subscribe("lot.*")
def may_watch(context: SubscribeContext) -> bool:
    """Let everybody subscribe to lots that exist, such as after a reconnect."""
    number = context.topic.removeprefix("lot.")
    return number.isdecimal() and int(number) in LOTS


@handlers.on("lot.watch")
async def watch(message: Watch, context: Context) -> Lot:
    """Subscribe a client to a lot, and give it the lot's state.

    The state is read after the client is subscribed. So no bid falls between the two.
    """
    check(message.lot)
    await context.subscribe(f"lot.{message.lot}")
    return await state_of(message.lot, context)


@handlers.on("lot.bid", authenticated_only())
async def bid(message: Bid, context: Context) -> Lot:
    """Take a bid, if it is the highest one, and tell everybody who watches the lot."""
    check(message.lot)
    if not await store.bid(context.state, message.lot, message.cents, str(context.user)):
        cents, _ = await store.highest(context.state, message.lot)
        raise Refusal("too_low", f"expected more than {cents} cents")
    lot = Lot(lot=message.lot, name=LOTS[message.lot], cents=message.cents, bidder=context.user)
    await context.publish(topic(f"lot.{message.lot}"), "lot.bid", lot)
    return lot


def check(lot: int) -> None:
    """Refuse a lot that does not exist."""
    if lot not in LOTS:
        raise Refusal("no_lot", f"expected a lot out of {sorted(LOTS)}")


async def state_of(lot: int, context: Context) -> Lot:
    """A lot as the database has it now."""
    cents, bidder = await store.highest(context.state, lot)
    return Lot(lot=lot, name=LOTS[lot], cents=cents, bidder=bidder)
