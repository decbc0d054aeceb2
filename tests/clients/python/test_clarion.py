"""The public package `clarion`: its names and their signatures, which docs/handlers.md lists."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from importlib import import_module, resources
from pathlib import Path
from typing import Any, Final

import pytest

from clarion.testing import ask, running

ROOT: Final = Path(__file__).parents[3]
DOCS: Final = ROOT / "docs"
PAGE: Final = (DOCS / "handlers.md").read_text()

# An application calls these. A change here is a change of the public interface: it needs a line in
# CHANGELOG.md, and a new major version where it breaks a caller.
SIGNATURES: Final = {
    "clarion": {
        "ALL": "Audience",
        "AUTHENTICATED": "Audience",
        "AskFailed": "exception Refusal",
        "Audience": "(kind, name='')",
        "BusUnavailable": "(message='', fault=None)",
        "Chooser": "type",
        "ConnectContext": (
            "(connection, user, pod, _host, _scope, _peer, claims, auth, query, headers)"
        ),
        "Context": "(connection, user, pod, _host, _scope, _peer, type)",
        "Context.ask": "async (self, type_, *data, timeout=10)",
        "Context.data": "property",
        "Context.propagate": "async (self, audience, reply, *, history=True)",
        "Context.publish": "async (self, audience, type_, data, *, history=True)",
        "Context.reply": "(self, value)",
        "Context.send": "async (self, type_, *data)",
        "Context.state": "property",
        "Context.stop_stream": "async (self, topic, id)",
        "Context.stream": "(self, topic, type_='text', *, id=None)",
        "Context.subscribe": "async (self, *topics)",
        "Context.unsubscribe": "async (self, *topics)",
        "DisconnectContext": "(connection, user, pod, _host, _scope, _peer, reason, code)",
        "Handlers": "(*, interceptors=(), threads=40)",
        "Handlers.connects": "property",
        "Handlers.disconnects": "property",
        "Handlers.fall_back": "(self, find)",
        "Handlers.find": "(self, type_)",
        "Handlers.include": "(self, other, *, prefix='')",
        "Handlers.lifespan": "(self, function)",
        "Handlers.limit_threads": "(self, threads)",
        "Handlers.namespace": "(self, name)",
        "Handlers.namespaces": "property",
        "Handlers.on": "(self, type_, *interceptors)",
        "Handlers.on_connect": "(self, function=None, *, headers=())",
        "Handlers.on_disconnect": "(self, function)",
        "Handlers.on_subscribe": "(self, pattern)",
        "Handlers.scopes": "property",
        "Handlers.subscribes": "property",
        "Handlers.types": "property",
        "Interceptor": "protocol (self, context, proceed)",
        "InvalidEvent": "exception ValueError",
        "InvalidText": "exception ValueError",
        "InvalidTopic": "exception ValueError",
        "InvalidType": "exception ValueError",
        "InvalidUserId": "exception ValueError",
        "Proceed": "type",
        "Published": "(id, duplicate, gateways)",
        "Refusal": "(code, message)",
        "Reply": "(type, data, parts=None)",
        "SubscribeContext": "(connection, user, pod, _host, _scope, _peer, topic)",
        "TextEnded": "(state, reason)",
        "TextWriter": "(carry, name=None, *, flush_seconds=0.04, lease_seconds=10)",
        "authenticated_only": "()",
        "propagate": "(to, *, history=True)",
        "topic": "(name)",
        "user": "(user)",
    },
    "clarion.client": {
        "Client": "(url, *, get_token=None, topics=(), since=None, transport='auto', on_status=None,"
        " ssl=None, jitter=<random>)",
        "Client.close": "async (self)",
        "Client.connect": "(self)",
        "Client.login": "async (self)",
        "Client.logout": "async (self)",
        "Client.on_ask": "(self, type_, answerer)",
        "Client.position": "property",
        "Client.send": "async (self, type_, data=None, *, timeout=10.0)",
        "Client.status": "property",
        "Client.subscribe": "async (self, *topics, last=None, since=None)",
        "Client.unsubscribe": "async (self, *topics)",
        "Closed": "(reason, code, state='closed')",
        "ClosedError": "(reason, code)",
        "Connecting": "(reason, failures, retry_seconds, url, state='connecting')",
        "Event": "(id, type, json, time, audience, topic, text)",
        "Message": "(type, json)",
        "NoAnswerError": "(message, *, sent=False)",
        "Open": "(reason, user, connection, pod, resumed, topics=(), forbidden=(), not_resumed=(),"
        " transport='websocket', state='open')",
        "Past": "(events=(), not_resumed=())",
        "Refresh": "(reason, id, topics=())",
        "RefusalError": "(code, message)",
        "Status": "type",
        "Stop": "exception Exception",
        "Token": "type",
        "TokenContext": "(reason)",
    },
    "clarion.publisher": {
        "AsyncPublisher": "(url, *, token, timeout_seconds=10.0, retry_seconds=30.0, bounds=None,"
        " client=None)",
        "AsyncPublisher.close": "async (self)",
        "AsyncPublisher.flush": "async (self)",
        "AsyncPublisher.position": "async (self)",
        "AsyncPublisher.publish": "async (self, audience, type_, data=None, *, key=None,"
        " exclude=None, history=True)",
        "AsyncPublisher.publish_batch": "async (self, events)",
        "AsyncPublisher.stop_stream": "async (self, topic, id)",
        "AsyncPublisher.stream": "(self, topic, type_='text', *, id=None, flush_seconds=0.04)",
        "AsyncPublisher.submit": "async (self, audience, type_, data=None, *, key=None,"
        " exclude=None, history=True)",
        "Bounds": "(seconds=0.01, events=500, bytes=524288, waiting_bytes=16777216)",
        "InsufficientScope": "exception Problem",
        "InvalidEvent": "exception Problem",
        "InvalidToken": "exception Problem",
        "KeyReused": "exception Problem",
        "NewEvent": "(audience, type, data=None, key=<factory>, exclude=None, history=True)",
        "NotAPublisher": "exception PublishError",
        "Problem": "(name, status, title, detail='', *, retryable=False, errors=(), scope=None)",
        "PublishError": "exception Exception",
        "Publisher": "(url, *, token, timeout_seconds=10.0, retry_seconds=30.0, bounds=None,"
        " client=None)",
        "Publisher.close": "(self)",
        "Publisher.flush": "(self)",
        "Publisher.position": "(self)",
        "Publisher.publish": "(self, audience, type_, data=None, *, key=None, exclude=None,"
        " history=True)",
        "Publisher.publish_batch": "(self, events)",
        "Publisher.stop_stream": "(self, topic, id)",
        "Publisher.stream": "(self, topic, type_='text', *, id=None, flush_seconds=0.04)",
        "Publisher.submit": "(self, audience, type_, data=None, *, key=None, exclude=None,"
        " history=True)",
        "Receipt": "(id, duplicate, gateways)",
        "ServiceToken": "(secret, service, scopes, audience=None, issuer=None, seconds=3600)",
        "Text": "(writer)",
        "TooLarge": "exception Problem",
        "Unavailable": "exception PublishError",
    },
    "clarion.pytest_plugin": {
        "RunningGateway": "(url, publisher_url, secret)",
        "RunningGateway.client": "(self, user=None, **options)",
        "RunningGateway.publisher": "(self)",
        "RunningGateway.token": "(self, user, **claims)",
        "gateway": "type",
        "running_gateway": "(handlers='')",
    },
    "clarion.testing": {
        "Answer": "(data, published, sent=(), asked=(), subscribed=(), unsubscribed=(),"
        " stopped=())",
        "PublishedEvent": "(audience, type, data, exclude=None, history=True)",
        "ask": "async (handlers, type_, data=None, *, user=None, connection='connection-1',"
        " pod='pod-1', state=None, context_data=None, answers=None)",
        "connect": "async (handlers, *, user=None, connection='connection-1', claims=None,"
        " auth=None, query=None, headers=None, state=None, context_data=None)",
        "disconnect": "async (handlers, *, user=None, connection='connection-1', reason='normal',"
        " code=1000, state=None, context_data=None)",
        "running": "(handlers)",
        "subscribe": "async (handlers, topic, *, user=None, connection='connection-1', state=None,"
        " context_data=None)",
    },
}


WITH_METHODS: Final = (
    "AsyncPublisher",
    "Client",
    "Context",
    "Handlers",
    "Publisher",
    "RunningGateway",
)


def signature(function: Any) -> str:
    """Names, kinds and defaults of the parameters; mypy checks the types."""
    found = inspect.signature(function)
    bare = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in found.parameters.values()
    ]
    text = re.sub(r"<built-in method random.*?>", "<random>", str(inspect.Signature(bare)))
    return f"async {text}" if inspect.iscoroutinefunction(function) else text


def shape(value: Any) -> str:
    """A public name in one line."""
    if inspect.isclass(value):
        if issubclass(value, Exception) and "__init__" not in vars(value):
            return f"exception {_base(value)}"
        if getattr(value, "_is_protocol", False):
            return f"protocol {signature(value.__call__).removeprefix('async ')}"
        return signature(value)
    if inspect.isfunction(value):
        return signature(value)
    name = type(value).__name__
    return name if name == "Audience" else "type"


def _base(exception: type[Exception]) -> str:
    """The nearest base that has a meaning of its own to applications."""
    base = exception.__mro__[1]
    return "ValueError" if issubclass(base, ValueError) else base.__name__


def surface(module: str) -> dict[str, str]:
    """Every public name of a module, and the public methods of its classes that have some."""
    found = {}
    package = import_module(module)
    for name in package.__all__:
        value = getattr(package, name)
        found[name] = shape(value)
        if name in WITH_METHODS:
            for method in dir(value):
                member = inspect.getattr_static(value, method)
                if inspect.isfunction(member) and not method.startswith("_"):
                    found[f"{name}.{method}"] = signature(member)
                elif isinstance(member, property):
                    found[f"{name}.{method}"] = "property"
    return found


@pytest.mark.parametrize("module", SIGNATURES)
def test_its_surface_is_what_it_was(module: str) -> None:
    assert surface(module) == SIGNATURES[module]


@pytest.mark.parametrize("module", SIGNATURES)
def test_what_it_imports_is_what_it_offers(module: str) -> None:
    """Nobody may import a name that is not in ``__all__``; type checkers refuse it."""
    package = import_module(module)
    assert package.__all__ == sorted(package.__all__)
    assert set(package.__all__) <= vars(package).keys()


@pytest.mark.parametrize("module", SIGNATURES)
def test_every_name_has_a_docstring(module: str) -> None:
    """Names without their own docstring (constants, aliases) are described on the page."""
    package = import_module(module)
    bare = {
        name
        for name in package.__all__
        if inspect.isroutine(value := getattr(package, name)) or inspect.isclass(value)
        if not (value.__doc__ or "").strip() or value.__doc__.startswith(f"{name}(")
    }
    assert bare == set()


@pytest.mark.parametrize(
    ("module", "page", "heading"),
    [
        ("clarion", "handlers.md", "| name | is |"),
        ("clarion.client", "protocol.md", "| name in `clarion.client` | is |"),
        ("clarion.publisher", "publishing.md", "| name in `clarion.publisher` | is |"),
        ("clarion.testing", "handlers.md", "| name in `clarion.testing` | is |"),
        ("clarion.pytest_plugin", "handlers.md", "| name in `clarion.pytest_plugin` | is |"),
    ],
)
def test_the_page_has_a_row_for_every_name(module: str, page: str, heading: str) -> None:
    table = (DOCS / page).read_text().partition(heading)[2].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")]
    documented = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(documented) == import_module(module).__all__


def test_it_is_typed() -> None:
    assert (resources.files("clarion") / "py.typed").is_file()


def imports(source: str) -> set[str]:
    """The names of the modules that a source imports."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


APPLICATIONS: Final = {
    **{
        str(path.relative_to(ROOT)): path.read_text()
        for path in (
            *(ROOT / "examples").rglob("*.py"),
            ROOT / "bench" / "clarion_bench" / "inside.py",
            ROOT / "tests" / "chaos" / "handlers.py",
        )
    },
    **{
        f"docs/handlers.md, block {number}": block
        for number, block in enumerate(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    },
}


@pytest.mark.parametrize("source", APPLICATIONS.values(), ids=APPLICATIONS.keys())
def test_applications_import_nothing_else_of_ours(source: str) -> None:
    """Users copy examples, so examples may not use anything that can change with a release."""
    ours = {name for name in imports(source) if name.startswith("clarion")}
    assert {
        name for name in ours if not re.match(r"clarion$|clarion\.|clarion_examples", name)
    } == (set())


BLOCKS: Final = [name for name in APPLICATIONS if name.startswith("docs/handlers.md")]


@pytest.fixture(scope="module")
def page() -> dict[str, dict[str, Any]]:
    """The names of each block of docs/handlers.md. A block sees those of the blocks before it."""
    names: dict[str, Any] = {}
    found = {}
    for block in BLOCKS:
        found[block] = names = {**names, "__name__": "page"}
        exec(compile(APPLICATIONS[block], block, "exec", dont_inherit=True), names)
    return found


@pytest.mark.parametrize("block", BLOCKS)
def test_the_pages_code_runs_and_its_tests_pass(
    block: str, page: dict[str, dict[str, Any]]
) -> None:
    for name in re.findall(r"^def (test_\w+)", APPLICATIONS[block], re.MULTILINE):
        page[block][name]()


def test_the_pages_applications_answer(page: dict[str, dict[str, Any]]) -> None:
    async def asked() -> None:
        by_source = {APPLICATIONS[block].splitlines()[0]: page[block] for block in BLOCKS}
        shop = by_source["# shop/live.py"]["handlers"]
        answer = await ask(shop, "auction.bid", {"lot": 7, "cents": 1}, user="alice")
        assert answer.data == {"lot": 7, "cents": 1, "bidder": "alice"}
        rooms = by_source["# shop/app.py"]["create"]()
        assert (await ask(rooms, "room.join", "lobby", user="alice")).data == "lobby"
        visits = by_source["import sqlite3"]["handlers"]
        async with running(visits):
            assert (await ask(visits, "visit")).data == 1
            assert (await ask(visits, "visit")).data == 2

    asyncio.run(asked())
