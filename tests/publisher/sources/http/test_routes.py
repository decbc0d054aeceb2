"""Publishing over HTTP: receipts, refusals, idempotency, batches; and the bytes that arrive."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import uuid
from typing import Any

import httpx
import pytest
import redis

from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience, user_audience
from clarion_publisher.ingestion.refusal import Refusal
from clarion_publisher.sources.http import problems
from clarion_publisher.sources.http.routes import choose_key
from tests.publisher.service import ALL_SCOPES, Service, bearer, serving
from tests.redis_topologies import wait_until
from tests.valkey import Valkey

EVENTS = "/v1/events"
BATCH = "/v1/events:batch"


def event(audience: object = "all", **fields: Any) -> dict[str, Any]:
    return {"audience": audience, "type": "order.updated", "data": {"n": 1}, **fields}


def assert_problem(response: httpx.Response, row: problems.Row) -> dict[str, Any]:
    """Check that the response is the row's problem document, and that its headers match."""
    problem: dict[str, Any] = response.json()
    assert response.status_code == row.status
    assert response.headers["content-type"] == "application/problem+json"
    assert (problem["type"], problem["title"]) == (row.type, row.title)
    assert (problem["status"], problem["retryable"]) == (row.status, row.retryable)
    assert ("retry-after" in response.headers) == (row.status in {429, 503})
    return problem


class TestOneEvent:
    @pytest.mark.parametrize(
        ("named", "audience"), [("all", ALL), ("authenticated", AUTHENTICATED)]
    )
    def test_event_reaches_its_stream(
        self, client: httpx.Client, service: Service, named: str, audience: Audience
    ) -> None:
        kind = f"test.{uuid.uuid4().hex}"
        response = client.post(EVENTS, json=event(named, type=kind))
        assert response.status_code == 201
        receipt = response.json()
        assert receipt["duplicate"] is False
        assert receipt["gateways"] == 0
        since = int(receipt["id"]) - 1
        assert [
            (str(each.id), each.data)
            for each in service.published(audience, since)
            if each.type == kind
        ] == [(receipt["id"], b'{"n":1}')]

    def test_a_users_event_reaches_that_user_only(
        self, client: httpx.Client, service: Service, user: str
    ) -> None:
        response = client.post(EVENTS, json=event({"user": user}, exclude="connection-1"))
        assert response.status_code == 201
        (found,) = service.published(user_audience(user))
        assert (found.type, found.exclude, found.trace) == ("order.updated", "connection-1", None)
        assert service.published(user_audience(user + "2")) == []

    @pytest.mark.parametrize(
        "data",
        [
            b"1e999",
            b"-0",
            b"0.10000000000000000000000001",
            b"123456789012345678901234567890",
            b'{ "b" : 1,\n\t"a":\r\n[ ] }',
            b'{"a":1,"a":2}',
            b'"\\u0041\\/\\ud83d\\ude00"',
            '"Zoë \U0001f600 \u2028"'.encode(),
            b'"\x7f"',
            b"null",
            b'""',
            b"[" * 500 + b"]" * 500,
        ],
    )
    def test_bytes_of_data_pass_untouched(
        self, client: httpx.Client, service: Service, user: str, data: bytes
    ) -> None:
        body = b'{"audience":{"user":"%b"},"type":"t","data": %b }' % (user.encode(), data)
        assert client.post(EVENTS, content=body).status_code == 201
        (found,) = service.published(user_audience(user))
        assert found.data == data

    def test_ids_rise(self, client: httpx.Client) -> None:
        ids = [int(client.post(EVENTS, json=event()).json()["id"]) for _ in range(5)]
        assert ids == sorted(set(ids))

    def test_the_subscribed_gateways_are_counted(
        self, client: httpx.Client, service: Service, user: str, shared_valkey: Valkey
    ) -> None:
        """Real subscribers stand in for gateways."""
        channel = service.settings.keyspace.channel(f"user:{user}")
        with redis.Redis(port=shared_valkey.port) as connection:
            first, second = connection.pubsub(), connection.pubsub()
            for subscriber in (first, second):
                subscriber.subscribe(channel)
                subscriber.get_message(timeout=60)
            assert client.post(EVENTS, json=event({"user": user})).json()["gateways"] == 2
            first.close()
            second.close()


class TestIdempotency:
    def test_a_second_event_with_the_key_is_not_published(
        self, client: httpx.Client, user: str
    ) -> None:
        first = client.post(EVENTS, json=event({"user": user}, key="k"))
        again = client.post(EVENTS, json=event({"user": user}, key="k"))
        assert (first.status_code, again.status_code) == (201, 200)
        assert again.json() == {**first.json(), "duplicate": True}

    @pytest.mark.parametrize("header", ["k", '"k"'])
    def test_the_header_is_the_same_as_the_field(
        self, client: httpx.Client, user: str, header: str
    ) -> None:
        client.post(EVENTS, json=event({"user": user}, key="k"))
        again = client.post(EVENTS, json=event({"user": user}), headers={"idempotency-key": header})
        assert again.json()["duplicate"] is True

    def test_the_key_with_another_event_is_refused(self, client: httpx.Client, user: str) -> None:
        client.post(EVENTS, json=event({"user": user}, key="k"))
        other = client.post(EVENTS, json=event({"user": user}, key="k", data=2))
        assert_problem(other, problems.KEY_REUSED)

    def test_header_and_field_must_agree(self, client: httpx.Client, user: str) -> None:
        response = client.post(
            EVENTS, json=event({"user": user}, key="k"), headers={"idempotency-key": "j"}
        )
        assert assert_problem(response, problems.INVALID_EVENT)["errors"][0]["pointer"] == "/key"

    def test_a_key_belongs_to_its_producer(self, client: httpx.Client, user: str) -> None:
        client.post(EVENTS, json=event({"user": user}, key="k"))
        other = client.post(
            EVENTS, json=event({"user": user}, key="k", data=2), headers=bearer("billing")
        )
        assert other.status_code == 201

    @pytest.mark.parametrize(
        "key", ["}", "{x}", "a b", "\n", "\u00e9\U0001f600", "x" * 255, "*", "\x00"]
    )
    def test_keys_may_hold_anything(self, client: httpx.Client, user: str, key: str) -> None:
        for duplicate in (False, True):
            response = client.post(EVENTS, json=event({"user": user}, key=key))
            assert response.json()["duplicate"] is duplicate

    @pytest.mark.parametrize(
        ("header", "key"),
        [
            (None, "k"),
            (b"k", "k"),
            (b'"k"', "k"),
            (b'"a\\"b\\\\"', 'a"b\\'),
            (b'"', '"'),
            (b'"open', '"open'),
        ],
    )
    def test_the_header_is_plain_or_quoted(self, header: bytes | None, key: str) -> None:
        assert choose_key(header, key) == key

    @pytest.mark.parametrize("header", [b"", b'""', b"x" * 256, "\u00e9".encode()])
    def test_a_header_that_is_no_key_is_refused(self, header: bytes) -> None:
        with pytest.raises(Refusal, match="Idempotency-Key"):
            choose_key(header, None)

    async def test_concurrent_events_with_one_key_are_published_once(
        self, service: Service, user: str
    ) -> None:
        headers = {**bearer(), "content-type": "application/json"}
        async with httpx.AsyncClient(
            base_url=service.url, headers=headers, trust_env=False
        ) as client:
            responses = await asyncio.gather(
                *[client.post(EVENTS, json=event({"user": user}, key="k")) for _ in range(20)]
            )
        assert sorted(response.status_code for response in responses) == [200] * 19 + [201]
        assert len({response.json()["id"] for response in responses}) == 1


class TestRefusals:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b'{"audience":"all","type":"t","data":NaN}',
            b'{"audience":"all","type":"t","data":"\\x"}',
            b'{"audience":"all","type":"t","data":"\xff"}',
            b'{"audience":"all","type":"t","data":"\\ud800"}',
            b'{"audience":"all","type":"t","data":1} 2',
            b'{"audience":"all","type":"t","data":' + b"[" * 50_000,
        ],
    )
    @pytest.mark.parametrize("path", [EVENTS, BATCH])
    def test_a_body_that_is_no_json(self, client: httpx.Client, path: str, body: bytes) -> None:
        if path == BATCH and b"ud800" in body:
            return  # an event of its own: `TestOddText`
        if path == BATCH and body:
            body = b'{"events":[' + body + b"]}"
        assert_problem(client.post(path, content=body), problems.MALFORMED_JSON)

    def test_what_is_refused_is_not_published(
        self, client: httpx.Client, service: Service, user: str
    ) -> None:
        """Every kind of error, once alone and once in a batch."""
        good = event({"user": user})
        assert client.post(EVENTS, json={**good, "key": "used"}).status_code == 201
        invalid = {**good, "type": "no type"}
        large = {**good, "data": "x" * service.settings.data_max_bytes}
        reused = {**good, "key": "used", "data": 2}
        refusals: list[tuple[int, dict[str, Any]]] = [
            (400, {"content": json.dumps(good)[:-1]}),
            (401, {"json": good, "headers": {"authorization": "Bearer nobody"}}),
            (403, {"json": good, "headers": bearer(scope="publish:all")}),
            (413, {"json": large}),
            (415, {"json": good, "headers": {"content-type": "text/plain"}}),
            (422, {"json": invalid}),
            (422, {"json": reused}),
        ]
        for status, request in refusals:
            response = client.post(EVENTS, **request)
            assert response.status_code == status, response.text
        batch = client.post(BATCH, json={"events": [invalid, large, reused]})
        assert [item["status"] for item in batch.json()["results"]] == [422, 413, 422]
        assert len(service.published(user_audience(user))) == 1

    def test_an_invalid_event_names_its_fields(self, client: httpx.Client) -> None:
        response = client.post(EVENTS, json={"audience": "none", "type": "a\n", "extra": 1})
        problem = assert_problem(response, problems.INVALID_EVENT)
        assert [error["pointer"] for error in problem["errors"]] == [
            "/audience",
            "/type",
            "/data",
            "/extra",
        ]

    @pytest.mark.parametrize("user", ["", "x" * 257, "\u00e9" * 129])
    def test_a_user_id_that_names_nobody(self, client: httpx.Client, user: str) -> None:
        response = client.post(EVENTS, json=event({"user": user}))
        problem = assert_problem(response, problems.INVALID_EVENT)
        assert [error["pointer"] for error in problem["errors"]] == ["/audience/user"]
        assert len(response.content) < 1_000

    @pytest.mark.parametrize("path", [EVENTS, BATCH])
    def test_no_token(self, service: Service, path: str) -> None:
        with httpx.Client(base_url=service.url, trust_env=False) as client:
            response = client.post(path, json=event())
            assert_problem(response, problems.UNAUTHENTICATED)
            assert response.headers["www-authenticate"] == 'Bearer realm="clarion"'
            response = client.post(path, json=event(), headers={"authorization": "Basic abc"})
            assert_problem(response, problems.UNAUTHENTICATED)

    @pytest.mark.parametrize("path", [EVENTS, BATCH])
    def test_a_token_that_is_not_accepted(self, client: httpx.Client, path: str) -> None:
        response = client.post(path, json=event(), headers=bearer(exp=1))
        assert_problem(response, problems.INVALID_TOKEN)
        assert response.headers["www-authenticate"] == (
            'Bearer realm="clarion", error="invalid_token", '
            'error_description="the token has expired"'
        )

    @pytest.mark.parametrize(
        ("pattern", "topic", "status"),
        [
            ("order.*", "order.42", 201),
            ("order.**", "order.42.lines", 201),
            ("order.42", "order.42", 201),
            ("order.*", "order.42.lines", 403),
            ("order.*", "orders.42", 403),
            ("order.*x", "order.42", 403),
            ("", "order.42", 403),
        ],
    )
    def test_a_scope_narrowed_to_topics(
        self, client: httpx.Client, pattern: str, topic: str, status: int
    ) -> None:
        headers = bearer(scope=f"publish:user publish:topic:{pattern}")
        response = client.post(EVENTS, json=event({"topic": topic}), headers=headers)
        assert response.status_code == status
        if status == 403:
            detail = assert_problem(response, problems.INSUFFICIENT_SCOPE)["detail"]
            assert detail.startswith(f"publishing to the topic {topic} needs the scope publish:")

    @pytest.mark.parametrize(
        ("audience", "scope"),
        [
            ("all", "publish:all"),
            ("authenticated", "publish:authenticated"),
            ({"user": "alice"}, "publish:user"),
            ({"topic": "order.42"}, "publish:topic"),
        ],
    )
    def test_each_audience_needs_its_scope(
        self, client: httpx.Client, audience: object, scope: str
    ) -> None:
        others = " ".join(each for each in ALL_SCOPES.split() if each != scope)
        response = client.post(EVENTS, json=event(audience), headers=bearer(scope=others))
        assert assert_problem(response, problems.INSUFFICIENT_SCOPE)["scope"] == scope
        assert 'error="insufficient_scope"' in response.headers["www-authenticate"]
        assert f'scope="{scope}"' in response.headers["www-authenticate"]
        enough = client.post(EVENTS, json=event(audience), headers=bearer(scope=scope))
        assert enough.status_code == 201

    @pytest.mark.parametrize(
        "content_type",
        [
            "",
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/json; charset=latin-1",
        ],
    )
    def test_another_content_type(self, client: httpx.Client, content_type: str) -> None:
        response = client.post(EVENTS, json=event(), headers={"content-type": content_type})
        assert_problem(response, problems.UNSUPPORTED_MEDIA_TYPE)
        assert response.headers["accept-post"] == "application/json"

    @pytest.mark.parametrize(
        "content_type", ["Application/JSON", 'application/json; charset="UTF-8"']
    )
    def test_the_same_content_type_in_other_words(
        self, client: httpx.Client, content_type: str
    ) -> None:
        response = client.post(EVENTS, json=event(), headers={"content-type": content_type})
        assert response.status_code == 201

    def test_a_compressed_body(self, client: httpx.Client) -> None:
        response = client.post(EVENTS, json=event(), headers={"content-encoding": "gzip"})
        assert_problem(response, problems.UNSUPPORTED_MEDIA_TYPE)
        assert response.headers["accept-encoding"] == "identity"

    def test_two_tokens(self, client: httpx.Client) -> None:
        """A proxy in front may have read the other one."""
        pairs = [*client.headers.multi_items(), ("authorization", "Bearer x")]
        response = client.post(EVENTS, json=event(), headers=pairs)
        assert_problem(response, problems.MALFORMED_REQUEST)

    def test_unknown_path_and_method(self, client: httpx.Client) -> None:
        assert_problem(client.get("/v1/nothing"), problems.NOT_FOUND)
        for path in (EVENTS, BATCH):
            response = client.get(path)
            assert_problem(response, problems.METHOD_NOT_ALLOWED)
            assert response.headers["allow"] == "POST"

    def test_every_response_carries_security_headers(self, client: httpx.Client) -> None:
        for response in (client.post(EVENTS, json=event()), client.get("/nothing")):
            assert response.headers["x-content-type-options"] == "nosniff"
            assert response.headers["cache-control"] == "no-store"
            assert response.headers["content-security-policy"].startswith("default-src 'none'")
            assert "server" not in response.headers


class TestSizes:
    def test_data_has_a_limit(self, client: httpx.Client, service: Service) -> None:
        most = service.settings.data_max_bytes
        fits = client.post(EVENTS, json=event(data="x" * (most - 2)))
        assert fits.status_code == 201
        assert_problem(
            client.post(EVENTS, json=event(data="x" * (most - 1))), problems.DATA_TOO_LARGE
        )

    def test_a_declared_body_is_refused_before_it_is_sent(
        self, client: httpx.Client, service: Service
    ) -> None:
        sent = 0

        def body() -> Any:
            nonlocal sent
            for _ in range(10_000):
                sent += 65_536
                yield bytes(65_536)

        size = 10_000 * 65_536
        try:
            response = client.post(EVENTS, content=body(), headers={"content-length": str(size)})
        except httpx.WriteError:  # the connection was closed on what still came
            pass
        else:
            assert_problem(response, problems.BODY_TOO_LARGE)
        assert sent < 64 << 20

    def test_a_chunked_body_is_refused_while_it_comes(
        self, client: httpx.Client, service: Service
    ) -> None:
        most = service.settings.body_max_bytes
        chunks = (b" " * 65_536 for _ in range(most // 65_536 + 2))
        assert_problem(client.post(EVENTS, content=chunks), problems.BODY_TOO_LARGE)
        assert service.metric("clarion_publisher_body_bytes") == 0

    def test_a_chunked_body_within_the_limit_is_read(self, client: httpx.Client) -> None:
        body = json.dumps(event()).encode()
        response = client.post(EVENTS, content=(body[i : i + 7] for i in range(0, len(body), 7)))
        assert response.status_code == 201


class TestBatch:
    def test_events_are_published_in_order(
        self, client: httpx.Client, service: Service, user: str
    ) -> None:
        events = [event({"user": user}, data=number) for number in range(1_000)]
        response = client.post(BATCH, json={"events": events})
        assert response.status_code == 200
        results = response.json()["results"]
        found = service.published(user_audience(user))
        assert [int(each.data) for each in found] == list(range(1_000))
        assert [result["id"] for result in results] == [str(each.id) for each in found]
        assert {result["status"] for result in results} == {201}

    def test_each_event_stands_for_itself(
        self, client: httpx.Client, service: Service, user: str
    ) -> None:
        mine = {"user": user}
        events = [
            event(mine, data=0),
            event(mine, type="no spaces"),
            event("all"),
            event(mine, data="x" * 70_000),
            event({"user": "\u00e9" * 200}),
            "nothing",
            event(mine, data=1, key="k"),
            event(mine, data=1, key="k"),
            event(mine, data=2, key="k"),
            event(mine, data=3),
        ]
        response = client.post(BATCH, json={"events": events}, headers=bearer(scope="publish:user"))
        assert response.status_code == 207
        results = response.json()["results"]
        assert [result["status"] for result in results] == [
            201, 422, 403, 413, 422, 422, 201, 200, 422, 201,
        ]  # fmt: skip
        assert results[7] == {**results[6], "status": 200, "duplicate": True}
        assert [result["problem"]["type"].rpartition(":")[2] for result in results
                if "problem" in result] == [
            "invalid_event", "insufficient_scope", "data_too_large", "invalid_event",
            "invalid_event", "key_reused",
        ]  # fmt: skip
        assert results[1]["problem"]["errors"][0]["pointer"] == "/type"
        assert [each.data for each in service.published(user_audience(user))] == [
            b"0", b"1", b"3",
        ]  # fmt: skip

    def test_bytes_of_data_pass_untouched(
        self, client: httpx.Client, service: Service, user: str
    ) -> None:
        """With both ways of decoding: the whole batch at once, and event by event."""
        one = b'{"audience":{"user":"%b"},"type":"t","data": 1.50e+1 }' % user.encode()
        for bad in (b"", b",{}"):
            client.post(BATCH, content=b'{"events":[%b%b]}' % (one, bad))
        assert [each.data for each in service.published(user_audience(user))] == [b"1.50e+1"] * 2

    def test_events_without_history_are_not_kept(
        self, client: httpx.Client, service: Service, user: str
    ) -> None:
        mine = {"user": user}
        single = client.post(EVENTS, json=event(mine, data=1, history=False))
        assert (single.status_code, single.json()["duplicate"]) == (201, False)
        batch = [event(mine, data=2), event(mine, data=3, history=False)]
        assert client.post(BATCH, json={"events": batch}).status_code == 200
        (found,) = service.published(user_audience(user))
        assert (found.data, found.prev) == (b"2", int(single.json()["id"]))

    def test_an_empty_batch_is_fine(self, client: httpx.Client) -> None:
        response = client.post(BATCH, json={"events": []})
        assert (response.status_code, response.json()) == (200, {"results": []})

    @pytest.mark.parametrize("bad", [False, True])
    def test_too_many_events(self, client: httpx.Client, bad: bool) -> None:
        events: list[Any] = [event()] * 1_001
        if bad:
            events[500] = {}
        problem = assert_problem(
            client.post(BATCH, json={"events": events}), problems.INVALID_BATCH
        )
        assert problem["errors"] == [
            {"pointer": "/events", "expected": "at most 1000 events", "got": "1001"}
        ]

    @pytest.mark.parametrize("body", [[], {}, {"events": {}}, {"events": [], "more": 1}, 1])
    def test_a_body_that_is_no_batch(self, client: httpx.Client, body: Any) -> None:
        assert_problem(client.post(BATCH, json=body), problems.INVALID_BATCH)

    def test_a_header_cannot_be_the_key_of_all(self, client: httpx.Client) -> None:
        response = client.post(BATCH, json={"events": [event()]}, headers={"idempotency-key": "k"})
        assert_problem(response, problems.INVALID_BATCH)


def said(service: Service) -> str:
    """The body of /readyz."""
    return service.internal("/readyz").text


class TestRedisGone:
    def test_publishing_fails_and_comes_back(self, tmp_path: Any) -> None:
        """Redis is absent at the start. The service starts, is not ready, and finds Redis later."""
        valkey = Valkey(tmp_path)
        with serving(valkey.url) as service, service.client() as client:
            assert service.internal("/readyz").status_code == 503
            wait_until(lambda: "redis was never reached: ConnectionError" in said(service), "why")
            assert service.internal("/healthz").status_code == 200
            assert_problem(client.post(EVENTS, json=event(key="k")), problems.BUS_UNAVAILABLE)
            whole = client.post(BATCH, json={"events": [event(), event()]})
            assert_problem(whole, problems.BUS_UNAVAILABLE)
            partly = client.post(BATCH, json={"events": [event(), {}]})
            assert partly.status_code == 207
            assert [result["status"] for result in partly.json()["results"]] == [503, 422]
            valkey.start()
            try:
                assert client.post(EVENTS, json=event(key="k")).status_code == 201
                wait_until(lambda: service.internal("/readyz").is_success, "ready")
                assert service.metric("clarion_publisher_bus_errors_total") == 3
            finally:
                valkey.kill()

    def test_more_than_may_wait_is_refused(self, valkey: Valkey) -> None:
        """Redis hangs and the queue fills up; further events are refused at once."""
        options = {"max_pending": 2, "batch_max_events": 2}
        with serving(valkey.url, **options) as service, service.client(timeout=60) as client:
            assert client.post(EVENTS, json=event()).status_code == 201
            valkey.signal(signal.SIGSTOP)
            batch = {"events": [event(), event()]}
            waiting: list[threading.Thread] = []
            # Batches that come together leave in one pipeline: only those behind it wait.
            while service.metric("clarion_publisher_pending") < 2:
                thread = threading.Thread(target=lambda: client.post(BATCH, json=batch))
                thread.start()
                waiting.append(thread)
            assert_problem(client.post(EVENTS, json=event()), problems.OVERLOADED)
            wait_until(lambda: "no answer within 2 s" in said(service), "not ready")
            valkey.signal(signal.SIGCONT)
            for thread in waiting:
                thread.join()
            assert client.post(EVENTS, json=event()).status_code == 201


class TestOddText:
    def test_a_lone_surrogate_refuses_its_event_only(
        self, client: httpx.Client, service: Service
    ) -> None:
        """JavaScript cuts emojis in two, and `JSON.stringify` writes the halves."""
        good = json.dumps(event(data="\U0001f680"))
        bad = json.dumps(event(data={"text": "\ud83d"}, type="test.half"))
        also_bad = json.dumps(event(data=1, key="\ude80"))
        body = f'{{"events":[{good},{bad},{also_bad},{good}]}}'
        response = client.post(BATCH, content=body)
        assert response.status_code == 207, response.text
        results = response.json()["results"]
        assert [result["status"] for result in results] == [201, 422, 422, 201]
        for result, pointer in ((results[1], "/data"), (results[2], "/key")):
            (error,) = result["problem"]["errors"]
            assert error["pointer"] == pointer
            assert "lone surrogate" in error["expected"]

    def test_a_lone_surrogate_alone_is_named(self, client: httpx.Client) -> None:
        response = client.post(EVENTS, content=json.dumps(event(data="\ud83d")))
        problem = assert_problem(response, problems.MALFORMED_JSON)
        assert "expected text without lone surrogates" in problem["detail"]

    def test_a_byte_order_mark_is_named(self, client: httpx.Client) -> None:
        response = client.post(EVENTS, content=json.dumps(event()).encode("utf-8-sig"))
        problem = assert_problem(response, problems.MALFORMED_JSON)
        assert "without a byte-order mark" in problem["detail"]

    def test_nesting_has_a_limit_that_is_documented(self, client: httpx.Client) -> None:
        def nested(depth: int) -> str:
            return json.dumps(event(data=0)).replace("0", "[" * depth + "]" * depth)

        assert client.post(EVENTS, content=nested(500)).status_code == 201
        batch = f'{{"events": [{nested(500)}, {nested(100)}]}}'
        assert client.post(BATCH, content=batch).status_code == 200
        for body in (nested(520), nested(20_000)):
            problem = assert_problem(client.post(EVENTS, content=body), problems.MALFORMED_JSON)
            batch = f'{{"events": [{nested(1)}, {body}]}}'
            assert_problem(client.post(BATCH, content=batch), problems.MALFORMED_JSON)
        assert "nested too deeply" in problem["detail"]

    @pytest.mark.parametrize("path", [EVENTS + "/", BATCH + "/", "/v1/connections/"])
    def test_a_slash_too_many_is_no_redirect(self, client: httpx.Client, path: str) -> None:
        response = client.post(path, json=event())
        assert response.status_code == 404
        assert "location" not in response.headers
