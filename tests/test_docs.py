"""The docs are complete: they contain every setting, metric, error code, close code and alert."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from prometheus_client import CollectorRegistry

from clarion_contract.service.internal import service_registry
from clarion_contract.service.settings import variable
from clarion_contract.service.variables import variables
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.close_codes import Close
from clarion_gateway.metrics.registry import MESSAGE_OUTCOMES
from clarion_gateway.metrics.registry import Metrics as GatewayMetrics
from clarion_gateway.settings import GatewaySettings
from clarion_publisher.metrics import Metrics as PublisherMetrics
from clarion_publisher.settings import PublisherSettings
from clarion_publisher.sources.http import problems
from clarion_publisher.sources.outbox.metrics import OutboxMetrics
from clarion_publisher.sources.socketio.metrics import SocketIoMetrics
from docs import figures, settings_page

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [
    *sorted(ROOT.glob("*.md")),
    ROOT / "bench" / "README.md",
    ROOT / "deploy" / "helm" / "clarion" / "README.md",
    *sorted((ROOT / "examples").glob("*/README.md")),
    *sorted((ROOT / "examples").glob("*/*/README.md")),
    *sorted(DOCS.rglob("*.md")),
]

CLOSES = {name: row for name, row in vars(close_codes).items() if isinstance(row, Close)}

# The client closes with these, or nobody is told: they are no answers to a message.
NO_ERROR_CODES = {"handled", "refused", "rate_limited", "invalid_text"}
# What an `auth` may be answered with (`clarion_gateway.clients.admission`).
AUTH_ERROR_CODES = {"unauthenticated", "too_many_connections", "unavailable"}
# What a `subscribe` may be answered with (`clarion_gateway.clients.memberships`, and sessions).
SUBSCRIBE_ERROR_CODES = {
    "invalid_topic",
    "too_many_topics",
    "invalid_last",
    "invalid_since",
    "rate_limited",
    "unavailable",
}


def section(page: str, title: str) -> str:
    """The text below a heading of the second level."""
    _, _, rest = (DOCS / page).read_text().partition(f"\n## {title}\n")
    assert rest, f"expected a section {title!r} in {page}"
    return rest.partition("\n## ")[0]


def rows(text: str) -> Iterator[list[str]]:
    """The cells of each line in all tables."""
    for line in text.splitlines():
        if line.startswith("|"):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def names(text: str, column: int = 0) -> list[str]:
    """The names in one column of a text's tables, in order."""
    found: list[str] = []
    for cells in rows(text):
        if len(cells) > column:
            found += re.findall(r"`([^`]+)`", cells[column])
    return found


def metrics_of(registry: CollectorRegistry) -> set[str]:
    return {
        family.name + ("_total" if family.type == "counter" else "")
        for family in registry.collect()
    }


def gateway_metrics() -> set[str]:
    registry = CollectorRegistry()
    GatewayMetrics(registry).observe_pod(
        held=dict,
        carriers=dict,
        unsent_bytes=lambda: 0,
        outbound_bytes=lambda: 0,
        inbound_bytes=lambda: 0,
        users=lambda: 0,
        topics=lambda: 0,
        sockets=lambda: 0,
        replay_bytes=lambda: 0,
        pending=lambda: 0,
        verified_age_seconds=lambda: 0.0,
        loop_lag_seconds=lambda: 0.0,
        draining=lambda: False,
        revocations=lambda: 0,
        presence_pending=lambda: 0,
        disconnects_pending=lambda: 0,
        namesakes=lambda: 0,
        max_connections=1,
        configured_connections=1,
        fault=lambda: None,
    )
    return metrics_of(registry)


def publisher_metrics() -> set[str]:
    registry = CollectorRegistry()
    PublisherMetrics(registry)
    OutboxMetrics(registry)
    SocketIoMetrics(registry)
    return metrics_of(registry)


def test_the_settings_page_is_what_the_classes_say() -> None:
    """If it fails: python -m docs.settings_page."""
    assert settings_page.PAGE.read_text() == settings_page.render()


@pytest.mark.parametrize("cls", [GatewaySettings, PublisherSettings])
def test_every_setting_stands_on_its_page(cls: type[GatewaySettings | PublisherSettings]) -> None:
    page = set(names(settings_page.PAGE.read_text()))

    assert {variable(cls, field) for field in cls.model_fields} - page == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_setting_that_a_page_names_exists(page: Path) -> None:
    """A renamed setting must be renamed everywhere. The command line and the cluster tests have
    variables too.
    """
    known = {name for cls in (GatewaySettings, PublisherSettings) for name in variables(cls)}
    for module in (*(ROOT / "cli").rglob("*.py"), ROOT / "tests" / "cluster" / "cluster.py"):
        known |= set(re.findall(r"\bCLARION_[A-Z_]+", module.read_text()))
    named = set(re.findall(r"`((?:CLARION|GATEWAY|PUBLISHER)_[A-Z_]*[A-Z])[`=]", page.read_text()))

    assert named - known == set()


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.parent != ROOT],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_a_page_begins_with_what_it_is_for(page: Path) -> None:
    """One of its first two paragraphs says so."""
    text = re.sub(r"<!--.*?-->", "", page.read_text(), flags=re.DOTALL)
    beginning = " ".join(text.split("\n\n")[1:3])

    assert re.search(r"\bThis (is the start )?page\b|\bThese pages\b", beginning), beginning


def test_pages_quote_the_measured_figures() -> None:
    """If it fails: python -m docs.figures. Only docs/figures.toml holds the figures."""
    quoting = list(figures.pages())

    assert {page.name for page in quoting} >= {"README.md", "performance.md", "guarantees.md"}
    for page in quoting:
        assert page.read_text() == figures.page(page.read_text()), page


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.parent.name not in {"decisions", "bench"}],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_no_page_writes_a_measured_figure_by_hand(page: Path) -> None:
    """Decisions hold the figures of their time, and bench/ the costs of its own parts. A bench runs
    at 20 and at 200 events a second; these numbers are not results.
    """
    made = r"<!-- (figures|capacity): .*?<!-- end of \1 -->"
    written = re.sub(made, "", page.read_text(), flags=re.DOTALL)
    found = re.findall(r"\d[\d,.]* ?(?:µs|(?:deliveries|events|handshakes|requests)/s)", written)

    assert [each for each in found if each not in {"20 events/s", "200 events/s"}] == []


def test_every_figure_is_quoted_somewhere() -> None:
    """A figure whose block is on no page is seen by nobody."""
    asked = {
        name
        for page in figures.pages()
        for name in re.findall(r"<!-- figures: ([\w-]+) -->", page.read_text())
    }

    assert asked == figures.BLOCKS.keys()


def test_an_unknown_block_of_figures_is_an_error() -> None:
    with pytest.raises(KeyError, match="fan-in"):
        figures.page("<!-- figures: fan-in -->\n<!-- end of figures -->")


def test_every_metric_of_a_gateway_stands_in_its_table() -> None:
    found = names(section("metrics.md", "Gateway"))

    assert {name for name in found if name.startswith("clarion_")} == gateway_metrics()


def test_every_metric_of_a_publisher_stands_in_its_table() -> None:
    found = names(section("metrics.md", "Publisher"))

    assert {name for name in found if name.startswith("clarion_")} == publisher_metrics()


@pytest.mark.parametrize("service", ["Gateway", "Publisher"])
def test_what_every_python_process_says_stands_in_both_tables(service: str) -> None:
    """Both registries begin with `clarion_contract.service.internal.service_registry`."""
    prefixes = {f"{family.name.partition('_')[0]}_*" for family in service_registry().collect()}

    assert prefixes - set(names(section("metrics.md", service))) == set()


def test_every_outcome_of_a_message_stands_among_the_label_values() -> None:
    cells = dict(
        cells[:2] for cells in rows(section("metrics.md", "Gateway")) if len(cells[:2]) == 2
    )
    documented = re.findall(r"`([^`]+)`", cells["`outcome` of messages"])

    assert sorted(documented) == sorted(MESSAGE_OUTCOMES)


@pytest.mark.parametrize("row", CLOSES.values(), ids=CLOSES.keys())
def test_every_close_has_its_row(row: Close) -> None:
    """Each row has the code, and the same words on reconnecting as the table in the code."""
    documented = [
        cells
        for cells in rows(section("errors.md", "Why connections close"))
        if cells[:2] == [str(row.code), f"`{row.label}`"]
    ]

    assert len(documented) == 1
    come_back = documented[0][4]
    if row.reconnect:
        assert come_back.startswith("yes"), come_back
    elif row.code != 1000:
        assert come_back.startswith(("no", "with a")), come_back


def test_no_close_is_documented_that_no_gateway_sends() -> None:
    """The rows of reserved codes say that they are reserved."""
    documented = {
        cells[1].strip("`")
        for cells in rows(section("errors.md", "Why connections close"))
        if cells[0].isdigit() and not cells[2].startswith("Reserved")
    }

    assert documented - {row.label for row in CLOSES.values()} == set()


def _error_codes() -> set[str]:
    """Codes that are literals where gateway/ makes a `Refusal` or an error message."""
    position = {"Refusal": 0, "error": 1, "_error": 2}
    found: set[str] = set()
    for module in (ROOT / "gateway").rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            arguments = node.args[position.get(name, 0) :]
            if name in position and arguments and isinstance(arguments[0], ast.Constant):
                found.add(str(arguments[0].value))
    return found


def test_every_error_of_the_protocol_has_its_row() -> None:
    documented = set(names(section("errors.md", "Errors on an open connection")))
    known = set(MESSAGE_OUTCOMES) - NO_ERROR_CODES | AUTH_ERROR_CODES | SUBSCRIBE_ERROR_CODES

    assert known - documented == set()
    assert _error_codes() <= known
    assert {"internal", "timeout", "unknown_type"} <= _error_codes()


def test_every_problem_of_the_publisher_has_its_row() -> None:
    documented = {
        cells[0].strip("`"): cells[1]
        for cells in rows(section("errors.md", "Problems of the publisher"))
        if len(cells) == 5 and cells[1].isdigit()
    }

    assert documented == {row.name: str(row.status) for row in problems.ROWS}


def _prose(page: Path) -> str:
    """A page without its code, where brackets are not links and hashes are not headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#{1,6} +(.+?) *$", _prose(page), flags=re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        found[slug] = found.get(slug, -1) + 1
        if found[slug]:
            found[f"{slug}-{found[slug]}"] = 0
    return set(found) | set(re.findall(r'<a (?:id|name)="([^"]+)"', page.read_text()))


def _links(page: Path) -> list[str]:
    prose = re.sub(r"`[^`\n]*`", "", _prose(page))
    inline = re.findall(r"\]\(<?([^)\s>]+)", prose)
    return inline + re.findall(r"^\[[^\]]+\]: *(\S+)", prose, flags=re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in _links(page):
        if re.match(r"[a-z]+:", link):
            continue
        address, _, anchor = link.partition("#")
        target = (page.parent / unquote(address)).resolve() if address else page
        if not target.exists() or (
            anchor and target.suffix == ".md" and anchor not in _anchors(target)
        ):
            broken.append(link)

    assert broken == []


def test_the_links_are_looked_at() -> None:
    """The test above must not pass because it finds no links."""
    assert sum(len(_links(page)) for page in PAGES) > 100
    assert "resume" in _anchors(DOCS / "protocol.md")


def _tests() -> set[str]:
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    return set(re.findall(r"^ *(?:async )?def (test_\w+)", sources, flags=re.MULTILINE))


@pytest.mark.parametrize("page", ["security.md", "guarantees.md"])
def test_every_test_that_a_page_names_exists(page: str) -> None:
    """Claims need proof. A renamed test would leave a claim without it."""
    named = set(re.findall(r"`(test_\w+)`", (DOCS / page).read_text()))

    assert len(named) > 30
    assert named - _tests() == set()


@pytest.mark.parametrize("page", ["security.md", "guarantees.md"])
def test_names_of_tests_are_folded_away(page: str) -> None:
    """Readers see how many there are, and can unfold them."""
    text = (DOCS / page).read_text()
    folded = re.findall(r"<details><summary>(\d+) tests?</summary>(.*?)</details>", text)

    assert len(folded) > 10
    assert [int(count) for count, _ in folded] == [
        len(re.findall(r"`test_\w+`", names)) for _, names in folded
    ]
    assert "`test_" not in re.sub(r"<details>.*?</details>", "", text)


@pytest.mark.parametrize("title", ["Promised", "Failures survived"])
def test_every_guarantee_names_a_test(title: str) -> None:
    head, _, *promises = rows(section("guarantees.md", title).partition("\n### ")[0])
    unproven = [cells[0] for cells in promises if "`test_" not in cells[head.index("shown by")]]

    assert len(promises) > 10
    assert unproven == []
