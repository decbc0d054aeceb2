"""The shop: orders in PostgreSQL. Each change of an order is an event, if its transaction commits.

README.md says how to run it. Nothing here knows Redis or Clarion's publisher.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import jwt
from fastapi import Depends, FastAPI, HTTPException, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel
from sqlalchemy import JSON, Column, MetaData, Table, Text, create_engine, insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

USER = "alice"
"""The customer that is logged in. A real shop has sessions."""

TOKEN_SECONDS = 600

# The outbox's columns that the shop fills in. Migrations leave the table to `clarion outbox init`.
outbox = Table(
    "clarion_outbox",
    MetaData(),
    Column("audience", Text),
    Column("type", Text),
    Column("data", JSON),
)


class Base(DeclarativeBase):
    """The shop's own tables."""


class Order(Base):
    """An order of one user."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    user: Mapped[str]
    item: Mapped[str]
    state: Mapped[str] = mapped_column(default="new")

    def shown(self) -> dict[str, Any]:
        """The order as the page gets it, from the API and in events."""
        return {"id": self.id, "item": self.item, "state": self.state}


class NewOrder(BaseModel):
    """An order that a user places."""

    item: str


class Change(BaseModel):
    """The next state of an order."""

    state: Literal["paid", "sent", "delivered", "cancelled"]


engine = create_engine(os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://"))
app = FastAPI(title="Orders")
Base.metadata.create_all(engine)


def transaction() -> Iterator[Session]:
    """A transaction that commits if the request succeeds, and is rolled back otherwise."""
    with Session(engine) as session, session.begin():
        yield session


Transaction = Annotated[Session, Depends(transaction, scope="function")]


def tell(session: Session, order: Order) -> None:
    """Tell the order's user about its state, if the transaction commits.

    Call it after the change: another request that changes the same order waits for this one, and
    tells its state afterwards.
    """
    session.flush()
    session.execute(
        insert(outbox).values(
            audience=f"user:{order.user}", type="order.updated", data=order.shown()
        )
    )


@app.post("/orders", status_code=201)
def place(new: NewOrder, session: Transaction) -> dict[str, Any]:
    """Place an order."""
    order = Order(user=USER, item=new.item)
    session.add(order)
    tell(session, order)
    return order.shown()


@app.get("/orders")
def orders(session: Transaction) -> list[dict[str, Any]]:
    """The user's orders."""
    found = session.scalars(select(Order).where(Order.user == USER).order_by(Order.id))
    return [order.shown() for order in found]


@app.post("/orders/{number}")
def change(number: int, wanted: Change, session: Transaction) -> dict[str, Any]:
    """Change an order's state. An order that was sent cannot be cancelled."""
    order = session.get(Order, number, with_for_update=True)
    if order is None:
        raise HTTPException(404)
    before, order.state = order.state, wanted.state
    tell(session, order)
    if wanted.state == "cancelled" and before in ("sent", "delivered"):
        raise HTTPException(409, "it is on its way")  # rolls back the change and its event
    return order.shown()


@app.get("/token")
def token() -> Response:
    """A token with which the user's page connects to a gateway."""
    claims = {"sub": USER, "exp": time.time() + TOKEN_SECONDS}
    return Response(jwt.encode(claims, os.environ["CLARION_JWT_SECRET"]))


@app.get("/", include_in_schema=False)
def page() -> FileResponse:
    """The page."""
    return FileResponse(Path(__file__).parent / "page.html")


@app.get("/client.js", include_in_schema=False)
def client() -> Response:
    """The JavaScript client. A page with a build step has it from `npm install @clarion/client`."""
    script = resources.files("clarion_dev_page") / "static" / "client.js"
    return Response(script.read_bytes(), media_type="text/javascript")
