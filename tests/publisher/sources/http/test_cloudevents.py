"""CloudEvents over HTTP: the official SDK's messages pass, in all modes; others are refused."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from cloudevents.v1 import conversion, http

from clarion_contract.events.audience import ALL, Audience, topic_audience, user_audience
from clarion_publisher.audience_rules import AudienceRules
from clarion_publisher.ingestion.refusal import Refusal
from clarion_publisher.sources.http import problems
from clarion_publisher.sources.http.cloudevents import (
    BATCH_TYPE,
    STRUCTURED_TYPE,
    Mode,
    decode_cloudevent,
    decode_cloudevents,
    mode_of,
)
from tests.publisher.service import Service, serving
from tests.publisher.sources.http.test_routes import EVENTS, assert_problem
from tests.valkey import Valkey

SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = SAMPLED[:-1] + "0"


def attributes(audience: str = "all", **more: str) -> dict[str, str]:
    return {
        "specversion": "1.0",
        "id": uuid.uuid4().hex,
        "source": "/shop/orders",
        "type": "order.updated",
        "clarionaudience": audience,
        **more,
    }


def structured(client: httpx.Client, event: object, **headers: str) -> httpx.Response:
    return client.post(EVENTS, json=event, headers={"content-type": STRUCTURED_TYPE, **headers})


def batch(client: httpx.Client, events: object) -> httpx.Response:
    return client.post(EVENTS, json=events, headers={"content-type": BATCH_TYPE})


def binary(client: httpx.Client, given: dict[str, str], content: bytes) -> httpx.Response:
    headers = {f"ce-{name}": value for name, value in given.items()}
    return client.post(EVENTS, content=content, headers=headers)


def errors(response: httpx.Response) -> list[str]:
    """The pointers of a refused event."""
    problem = assert_problem(response, problems.INVALID_EVENT)
    return [error["pointer"] for error in problem["errors"]]


def by_sdk(mode: str, attributes: dict[str, Any], data: Any) -> tuple[dict[str, str], bytes]:
    """A message as the official SDK for Python writes it, in its current or its older interface."""
    if mode.startswith("old"):
        to = conversion.to_binary if mode.endswith("binary") else conversion.to_structured
        headers, body = to(http.CloudEvent(attributes, data))
        return dict(headers), body
    write = to_binary_event if mode == "binary" else to_structured_event
    message = write(CloudEvent(attributes, data))
    return dict(message.headers), message.body


class TestSdk:
    """Messages of the official SDK for Python."""

    @pytest.mark.parametrize("mode", ["structured", "binary", "old structured", "old binary"])
    def test_events(self, client: httpx.Client, service: Service, user: str, mode: str) -> None:
        given = {
            "type": "com.example.order.updated",
            "source": "https://shop.example/orders",
            "datacontenttype": "application/json",
            "clarionaudience": f"user:{user}",
        }
        headers, body = by_sdk(mode, given, {"n": 1, "text": "Zoë"})
        assert client.post(EVENTS, content=body, headers=headers).status_code == 201
        (found,) = service.published(user_audience(user))
        assert found.type == "com.example.order.updated"
        assert json.loads(found.data) == {"n": 1, "text": "Zoë"}

    @pytest.mark.parametrize("mode", ["structured", "binary", "old structured", "old binary"])
    def test_without_a_content_type(
        self, service: Service, client: httpx.Client, user: str, mode: str
    ) -> None:
        given = {"type": "t", "source": "/s", "clarionaudience": f"user:{user}"}
        headers, body = by_sdk(mode, given, {"n": 1})
        headers["authorization"] = client.headers["authorization"]
        with httpx.Client(base_url=service.url, trust_env=False) as bare:
            answer = bare.post(EVENTS, content=body, headers=headers)
        assert answer.status_code == 201, answer.text

    def test_bytes_as_data(self, client: httpx.Client, service: Service, user: str) -> None:
        """The SDK writes bytes as `data_base64`."""
        given = {
            "type": "t",
            "source": "/s",
            "datacontenttype": "application/json",
            "clarionaudience": f"user:{user}",
        }
        headers, body = by_sdk("structured", given, b'{"n": 1}')
        assert b"data_base64" in body
        assert client.post(EVENTS, content=body, headers=headers).status_code == 201
        (found,) = service.published(user_audience(user))
        assert found.data == b'{"n": 1}'


class TestMapping:
    @pytest.mark.parametrize("mode", ["structured", "binary", "batch"])
    def test_data_passes_byte_for_byte(
        self, client: httpx.Client, service: Service, user: str, mode: str
    ) -> None:
        data = b'{ "b" : 1e999,\n "a" : [0.10, "\\u0041"] }'
        given = attributes(f"user:{user}")
        whole = json.dumps(given)[:-1].encode() + b', "data": %b}' % data
        if mode == "binary":
            answer = binary(client, given, data)
        elif mode == "structured":
            headers = {"content-type": STRUCTURED_TYPE}
            answer = client.post(EVENTS, content=whole, headers=headers)
        else:
            headers = {"content-type": BATCH_TYPE}
            answer = client.post(EVENTS, content=b"[%b]" % whole, headers=headers)
        assert answer.is_success, answer.text
        (found,) = service.published(user_audience(user))
        assert (found.type, found.data) == ("order.updated", data)

    @pytest.mark.parametrize(
        ("text", "audience"),
        [("all", ALL), ("topic:order.42", topic_audience("order.42")), ("user:a:b", None)],
    )
    def test_audiences(self, text: str, audience: Audience | None) -> None:
        event, _ = decode_cloudevent(Mode.STRUCTURED, {}, json.dumps(attributes(text)).encode())
        assert event.audience == (audience or user_audience("a:b"))

    def test_id_and_source_are_the_key(self, client: httpx.Client, user: str) -> None:
        event = {**attributes(f"user:{user}"), "data": 1}
        first = structured(client, event)
        again = binary(client, {k: v for k, v in event.items() if k != "data"}, b"1")
        assert (first.status_code, again.status_code) == (201, 200)
        assert again.json() == {**first.json(), "duplicate": True}
        other = structured(client, {**event, "source": "/shop/other"})
        assert other.status_code == 201
        assert_problem(structured(client, {**event, "data": 2}), problems.KEY_REUSED)

    def test_no_two_pairs_share_a_key(self) -> None:
        keys = {
            decode_cloudevent(
                Mode.STRUCTURED,
                {},
                json.dumps({**attributes(), "source": source, "id": id_}).encode(),
            )[0].key
            for source, id_ in [("a", "bc"), ("ab", "c"), ("a:b", "c"), ("a", "b:c")]
        }
        assert len(keys) == 4
        assert all(key is not None and len(key) <= 255 for key in keys)

    @pytest.mark.parametrize(
        ("given", "history"), [(True, True), ("true", True), (False, False), ("false", False)]
    )
    def test_an_event_without_history(self, given: bool | str, history: bool) -> None:
        body = json.dumps({**attributes(), "clarionhistory": given}).encode()
        event, _ = decode_cloudevent(Mode.STRUCTURED, {}, body)
        assert event.history is history
        headers = {f"ce-{name}".encode(): value.encode() for name, value in attributes().items()}
        headers[b"ce-clarionhistory"] = str(given).lower().encode()
        event, _ = decode_cloudevent(Mode.BINARY, headers, b"1")
        assert event.history is history

    def test_no_data_is_null(self, client: httpx.Client, service: Service, user: str) -> None:
        assert structured(client, attributes(f"user:{user}")).status_code == 201
        assert binary(client, attributes(f"user:{user}"), b"").status_code == 201
        assert [each.data for each in service.published(user_audience(user))] == [b"null"] * 2

    def test_other_attributes_are_allowed(self, client: httpx.Client) -> None:
        event = attributes(subject="42", time="2026-11-30T00:00:00Z", myextension="x")
        assert structured(client, {**event, "sequence": 7, "data": {}}).status_code == 201

    def test_a_connection_is_excluded(
        self, client: httpx.Client, service: Service, user: str
    ) -> None:
        given = attributes(f"user:{user}", clarionexclude="connection-1")
        assert binary(client, given, b"1").status_code == 201
        (found,) = service.published(user_audience(user))
        assert found.exclude == "connection-1"

    def test_header_values_are_decoded(
        self, client: httpx.Client, service: Service, user: str
    ) -> None:
        name = f"Zoë {user}"
        given = attributes(f"user:{quote(name)}", source='"quoted\\"source"')
        assert binary(client, given, b"1").status_code == 201
        assert len(service.published(user_audience(name))) == 1

    def test_the_events_own_trace_goes_first(
        self, client: httpx.Client, service: Service, user: str
    ) -> None:
        own = SAMPLED.replace("b7ad", "c7ad")
        event = {**attributes(f"user:{user}", traceparent=own), "data": 1}
        assert structured(client, event, traceparent=SAMPLED).status_code == 201
        many = [
            {**attributes(f"user:{user}", **trace), "data": 1}
            for trace in ({"traceparent": own}, {}, {"traceparent": UNSAMPLED})
        ]
        headers = {"content-type": BATCH_TYPE, "traceparent": SAMPLED}
        assert client.post(EVENTS, json=many, headers=headers).status_code == 200
        traces = [each.trace for each in service.published(user_audience(user))]
        assert traces == [own, own, SAMPLED, None]

    @pytest.mark.parametrize("trace", ["nonsense", "\ud800", SAMPLED.upper()])
    def test_an_invalid_trace_is_ignored(self, client: httpx.Client, trace: str) -> None:
        event = {**attributes(), "traceparent": trace, "data": 1}
        expected = 400 if trace == "\ud800" else 201  # no JSON text has half a character
        answer = client.post(
            EVENTS, content=json.dumps(event), headers={"content-type": STRUCTURED_TYPE}
        )
        assert answer.status_code == expected


@pytest.fixture(scope="module")
def ruled(shared_valkey: Valkey) -> Iterator[httpx.Client]:
    rules = ["order.*=user:{subject}", "price.*=topic:price.{subject}", "news=all"]
    namespace = f"publisher-{uuid.uuid4().hex[:8]}"
    with (
        serving(shared_valkey.url, namespace=namespace, cloudevents_audiences=rules) as service,
        service.client() as client,
    ):
        yield client


class TestRules:
    """Audiences of events that name none."""

    def test_the_audience_is_that_of_the_rule(self) -> None:
        rules = AudienceRules.parse(["order.*=user:{subject}", "news=all"])
        given = {**attributes(), "subject": "alice"}
        del given["clarionaudience"]
        body = json.dumps(given).encode()
        event, _ = decode_cloudevent(Mode.STRUCTURED, {}, body, rules=rules)
        assert event.audience == user_audience("alice")
        headers = {f"ce-{name}".encode(): value.encode() for name, value in given.items()}
        event, _ = decode_cloudevent(Mode.BINARY, headers, b"1", rules=rules)
        assert event.audience == user_audience("alice")
        (found,) = decode_cloudevents({}, b"[" + body + b"]", max_events=1, rules=rules)
        assert not isinstance(found, Refusal)
        assert found.audience == user_audience("alice")
        news = json.dumps({**given, "type": "news"}).encode()
        event, _ = decode_cloudevent(Mode.STRUCTURED, {}, news, rules=rules)
        assert event.audience == ALL

    def test_the_events_own_audience_goes_first(self) -> None:
        rules = AudienceRules.parse(["**=all"])
        body = json.dumps(attributes("topic:a")).encode()
        event, _ = decode_cloudevent(Mode.STRUCTURED, {}, body, rules=rules)
        assert event.audience == topic_audience("a")

    @pytest.mark.parametrize(
        ("type_", "subject", "pointer"),
        [
            ("order.updated", None, "/subject"),
            ("order.updated", "", "/subject"),
            ("order.updated", "x" * 257, "/subject"),
            ("price.eur", "a b", "/subject"),
            ("price.eur", "**", "/subject"),
            ("price.eur", 1, "/subject"),
            ("unknown", "alice", "/clarionaudience"),
        ],
    )
    def test_a_subject_that_makes_no_audience_is_refused(
        self, ruled: httpx.Client, type_: str, subject: object, pointer: str
    ) -> None:
        given = {**attributes(), "type": type_, "subject": subject}
        del given["clarionaudience"]
        assert errors(structured(ruled, given)) == [pointer]
        good = {**given, "type": "news", "subject": "any"}
        assert structured(ruled, good).status_code == 201


class TestRefusals:
    @pytest.mark.parametrize("name", ["specversion", "id", "source", "type", "clarionaudience"])
    def test_a_required_attribute_is_missing(self, client: httpx.Client, name: str) -> None:
        given = attributes()
        del given[name]
        assert errors(structured(client, given)) == [f"/{name}"]
        if name != "specversion":
            assert errors(binary(client, given, b"1")) == [f"/{name}"]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("specversion", "0.3"),
            ("id", ""),
            ("source", ""),
            ("type", "not a type"),
            ("clarionaudience", "everybody"),
            ("clarionaudience", "user:"),
            ("clarionaudience", "all:x"),
            ("clarionaudience", "topic:a b"),
            ("clarionaudience", "user:" + "x" * 257),
            ("clarionexclude", "no id"),
            ("clarionhistory", "no"),
            ("datacontenttype", "text/plain"),
            ("datacontenttype", "application/xml"),
            ("datacontenttype", "application/json; charset=latin-1"),
            ("data_base64", "%%%"),
            ("data_base64", base64.b64encode(b"no json").decode()),
            ("data_base64", base64.b64encode(b"\xff").decode()),
        ],
    )
    def test_an_attribute_is_wrong(self, client: httpx.Client, name: str, value: str) -> None:
        event = {**attributes(), name: value}
        assert errors(structured(client, event)) == [f"/{name}"]
        answer = batch(client, [event, {**attributes(), "data": 1}])
        assert answer.status_code == 207
        bad, good = answer.json()["results"]
        assert [each["pointer"] for each in bad["problem"]["errors"]] == [f"/{name}"]
        assert good["status"] == 201

    def test_data_in_two_forms(self, client: httpx.Client) -> None:
        event = {**attributes(), "data": 1, "data_base64": "MQ=="}
        assert errors(structured(client, event)) == ["/data_base64"]

    @pytest.mark.parametrize(
        "content_type", ["text/plain", "application/octet-stream", "image/png"]
    )
    def test_binary_data_that_is_not_json(self, client: httpx.Client, content_type: str) -> None:
        headers = {f"ce-{name}": value for name, value in attributes().items()}
        headers["content-type"] = content_type
        answer = client.post(EVENTS, content=b"hello", headers=headers)
        assert errors(answer) == ["/datacontenttype"]
        assert "JSON" in answer.json()["errors"][0]["expected"]

    @pytest.mark.parametrize("content", [b"hello", b'{"a":1} 2', b"\xff", b'"\\ud800"', b"[1,"])
    def test_binary_data_that_is_broken_json(self, client: httpx.Client, content: bytes) -> None:
        assert_problem(binary(client, attributes(), content), problems.MALFORMED_JSON)

    def test_data_adds_no_attribute(
        self, client: httpx.Client, service: Service, user: str
    ) -> None:
        """Data that would break out of a JSON text around it, and an attribute named data."""
        given = attributes(f"user:{user}")
        content = b'1,"clarionaudience":"all"'
        assert_problem(binary(client, given, content), problems.MALFORMED_JSON)
        assert binary(client, {**given, "data": "evil"}, b"1").status_code == 201
        (found,) = service.published(user_audience(user))
        assert found.data == b"1"

    def test_an_attribute_that_is_no_utf8(self, client: httpx.Client) -> None:
        assert errors(binary(client, attributes(source="%ff"), b"1")) == ["/source"]

    def test_an_attribute_twice(self, client: httpx.Client) -> None:
        headers = [
            (b"authorization", client.headers["authorization"].encode()),
            (b"content-type", b"application/json"),
            *((b"ce-" + k.encode(), v.encode()) for k, v in attributes().items()),
            (b"ce-id", b"another"),
        ]
        answer = httpx.post(
            f"{client.base_url}{EVENTS}", content=b"1", headers=headers, trust_env=False
        )
        assert_problem(answer, problems.MALFORMED_REQUEST)

    @pytest.mark.parametrize(
        "content_type",
        [
            "application/cloudevents+avro",
            "application/cloudevents",
            "application/cloudevents-batch+xml",
            "application/cloudevents+json; charset=utf-16",
        ],
    )
    def test_another_format(self, client: httpx.Client, content_type: str) -> None:
        answer = client.post(EVENTS, content=b"x", headers={"content-type": content_type})
        assert_problem(answer, problems.UNSUPPORTED_MEDIA_TYPE)
        assert STRUCTURED_TYPE in answer.headers["accept-post"]

    def test_a_key_in_a_header(self, client: httpx.Client) -> None:
        event = {**attributes(), "data": 1}
        answer = structured(client, event, **{"idempotency-key": "k"})
        assert errors(answer) == ["/id"]

    def test_what_is_no_batch(self, client: httpx.Client) -> None:
        assert_problem(batch(client, {"events": []}), problems.INVALID_BATCH)
        many = [{**attributes(), "data": 1}] * 1_001
        assert_problem(batch(client, many), problems.INVALID_BATCH)
        assert batch(client, []).json() == {"results": []}

    def test_half_an_emoji_costs_its_own_event_only(self, client: httpx.Client) -> None:
        bad = json.dumps({**attributes(), "data": "\ud83d"})
        good = json.dumps({**attributes(), "data": 1})
        answer = client.post(
            EVENTS, content=f"[{bad},{good}]".encode(), headers={"content-type": BATCH_TYPE}
        )
        assert [each["status"] for each in answer.json()["results"]] == [422, 201]

    def test_the_path_for_batches_takes_none(self, client: httpx.Client) -> None:
        answer = client.post(f"{EVENTS}:batch", content=b"[]", headers={"content-type": BATCH_TYPE})
        assert_problem(answer, problems.UNSUPPORTED_MEDIA_TYPE)


class TestModes:
    @pytest.mark.parametrize(
        ("headers", "mode"),
        [
            ({b"content-type": b"application/json"}, None),
            ({}, None),
            ({b"content-type": b"text/plain"}, None),
            ({b"content-type": b"Application/CloudEvents+JSON; charset=UTF-8"}, Mode.STRUCTURED),
            ({b"content-type": b"application/cloudevents-batch+json"}, Mode.BATCH),
            ({b"content-type": b"application/json", b"ce-id": b"1"}, Mode.BINARY),
            ({b"ce-specversion": b"1.0"}, Mode.BINARY),
        ],
    )
    def test_the_mode(self, headers: dict[bytes, bytes], mode: Mode | None) -> None:
        assert mode_of(headers) is mode

    def test_a_bad_event_of_a_batch_is_a_refusal(self) -> None:
        good, bad = attributes(), attributes("nobody")
        first, second = decode_cloudevents({}, json.dumps([good, bad]).encode(), max_events=2)
        assert not isinstance(first, Refusal)
        assert isinstance(second, Refusal)
