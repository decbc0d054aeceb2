"""The example with an outbox: what is committed reaches the user's page, what is rolled back never."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.e2e.backend import example
from tests.e2e.test_up import linux_only, up


@contextmanager
def shop(database: str, secret: str) -> Iterator[httpx.Client]:
    app = "clarion_examples.orders.app:app"
    with (
        example(app, "/orders", DATABASE_URL=database, CLARION_JWT_SECRET=secret) as url,
        httpx.Client(base_url=url, trust_env=False) as client,
    ):
        yield client


@linux_only
def test_a_page_hears_of_commits_only(tmp_path: Path) -> None:
    with up(tmp_path, "--outbox", gateways=1) as running:
        secret = (tmp_path / ".clarion" / "dev-secret").read_text().strip()
        with shop(running.record["outbox"], secret) as client:
            assert "createClient" in client.get("/").text
            assert "createClient" in client.get("/client.js").text
            headers = {"Authorization": f"Bearer {client.get('/token').text}"}
            url = f"{running.record['gateways'][0]}/sse"
            with httpx.stream("GET", url, headers=headers, trust_env=False) as page:
                lines = (line[6:] for line in page.iter_lines() if line.startswith("data:"))
                assert '"user":"alice"' in next(lines)

                order = client.post("/orders", json={"item": "a book"}).json()
                assert client.post("/orders/1", json={"state": "sent"}).is_success
                assert client.post("/orders/1", json={"state": "cancelled"}).status_code == 409
                assert client.post("/orders/1", json={"state": "delivered"}).is_success
                heard = [next(lines) for _ in range(3)]
            assert order == {"id": 1, "item": "a book", "state": "new"}
            states = ["new", "sent", "delivered"]
            assert heard == [
                f'{{"id": 1, "item": "a book", "state": "{state}"}}' for state in states
            ]
            assert client.get("/orders").json() == [{**order, "state": "delivered"}]
        running.interrupt()
        assert running.end() == (0, "")
