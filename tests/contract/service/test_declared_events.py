"""The catalogue in force: read from files, read again on a change, kept when the change is bad."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import structlog
from prometheus_client import CollectorRegistry

from clarion_contract.events.audience import ALL
from clarion_contract.events.catalogue import InvalidCatalogue
from clarion_contract.service.declared_events import DeclaredEvents, Undeclared, read_catalogue
from clarion_contract.service.declaring import CatalogueMetrics, declared_events
from clarion_contract.service.settings import InvalidSettings
from clarion_publisher.settings import PublisherSettings
from tests.conftest import SECRET


def write(path: Path, **events: Any) -> None:
    path.write_text(json.dumps({"events": events}))


def declared(path: Path, undeclared: Undeclared = "allow") -> tuple[DeclaredEvents, list[str]]:
    counted: list[str] = []
    return DeclaredEvents(path, undeclared=undeclared, count=counted.append), counted


class TestReading:
    def test_a_directory_with_files_of_both_forms(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text('{"type": "object"}')
        (tmp_path / "more.yaml").write_text("events:\n  b:\n    description: B\n  c.*:\n")
        (tmp_path / "README.md").write_text("no catalogue")
        (tmp_path / "..data").mkdir()
        (tmp_path / ".hidden.json").write_text("[")
        assert [each.type for each in read_catalogue(tmp_path)] == ["a", "b", "c.*"]

    def test_one_file_of_any_name(self, tmp_path: Path) -> None:
        (tmp_path / "catalogue").write_text("events:\n  b:\n")
        assert [each.type for each in read_catalogue(tmp_path / "catalogue")] == ["b"]

    def test_a_date_without_quotes_is_a_text(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text("events:\n  a: {example: 2024-01-01}\n")
        (declaration,) = read_catalogue(tmp_path)
        assert declaration.examples == ("2024-01-01",)

    @pytest.mark.parametrize(
        "text",
        ["events: !!set {a, b}", "events: !!binary AA==", "? !!timestamp 2024-01-01\n: 1"],
    )
    def test_values_that_json_does_not_have(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "a.yaml").write_text(text)
        with pytest.raises(InvalidCatalogue, match=r"^a\.yaml: expected values that JSON has: "):
            read_catalogue(tmp_path)

    @pytest.mark.parametrize(
        "text",
        ["events: [", "events:\n  a: !!python/object:os.system {}", "\x00", "events: {1: .nan}"],
    )
    def test_what_is_no_yaml(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "a.yaml").write_text(text)
        with pytest.raises(InvalidCatalogue, match=r"^a\.yaml: "):
            read_catalogue(tmp_path)

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("a.yaml", "events:\n  b:\n  c:\n  b:\n    deprecated: true\n"),
            ("a.json", '{"events": {"b": {}, "b": {"deprecated": true}}}'),
        ],
    )
    def test_a_type_twice_in_one_file(self, tmp_path: Path, name: str, text: str) -> None:
        (tmp_path / name).write_text(text)
        with pytest.raises(InvalidCatalogue, match="the key 'b' stands twice"):
            read_catalogue(tmp_path)

    def test_a_path_with_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidCatalogue, match="No such file"):
            read_catalogue(tmp_path / "none.yaml")

    def test_a_huge_file(self, tmp_path: Path) -> None:
        with (tmp_path / "a.json").open("wb") as file:
            file.truncate(5 << 20)
        with pytest.raises(InvalidCatalogue, match="at most"):
            read_catalogue(tmp_path)


class TestUndeclared:
    def test_allow(self, tmp_path: Path) -> None:
        write(tmp_path / "e.json", a={})
        given, counted = declared(tmp_path)
        assert given.check(ALL, "b", b"1") == ()
        assert counted == []

    def test_warn(self, tmp_path: Path) -> None:
        write(tmp_path / "e.json", a={}, old={"deprecated": True})
        given, counted = declared(tmp_path, "warn")
        with structlog.testing.capture_logs() as logs:
            for type_ in ("b", "b", "old", "a"):
                assert not given.check(ALL, type_, b"1")
        assert counted == ["undeclared", "undeclared", "deprecated"]
        assert [each["type"] for each in logs] == ["b", "old"]

    def test_refuse(self, tmp_path: Path) -> None:
        write(tmp_path / "e.json", a={"schema": {"type": "null"}})
        given, counted = declared(tmp_path, "refuse")
        assert [each.pointer for each in given.check(ALL, "b", b"1")] == ["/type"]
        assert [each.pointer for each in given.check(ALL, "a", b"1")] == ["/data"]
        assert given.check(ALL, "a", b"null") == []
        assert counted == ["undeclared", "invalid"]


class TestReloading:
    def test_a_configmap_that_is_swapped(self, tmp_path: Path) -> None:
        """Kubernetes' own way: files are links through ``..data``, which is replaced at once."""
        for version, events in (("..1", {"a": {}}), ("..2", {"b": {}, "c": {}})):
            (tmp_path / version).mkdir()
            write(tmp_path / version / "e.json", **events)
        (tmp_path / "..data").symlink_to("..1")
        (tmp_path / "e.json").symlink_to("..data/e.json")
        given, _ = declared(tmp_path, "refuse")
        assert given.check(ALL, "b", b"1")
        (tmp_path / "..tmp").symlink_to("..2")
        (tmp_path / "..tmp").replace(tmp_path / "..data")
        given.look()
        assert len(given) == 2
        assert not given.check(ALL, "b", b"1")

    def test_a_mistake_keeps_the_old_one_and_says_so(self, tmp_path: Path) -> None:
        file = tmp_path / "e.json"
        write(file, a={"schema": {"type": "null"}})
        metrics = CatalogueMetrics(registry := CollectorRegistry(), "x")
        given = DeclaredEvents(tmp_path, undeclared="refuse", count=metrics.count)
        metrics.observe(given)
        with structlog.testing.capture_logs() as logs:
            file.write_text('{"events": {"a": {"schema": {"type": "nul"}}}}')
            given.look()
            given.look()
        assert [each["log_level"] for each in logs] == ["error"]
        assert "e.json: a" in str(given.problem)
        assert given.warnings == [f"catalogue not reloaded: {given.problem}"]
        assert registry.get_sample_value("x_catalogue_broken") == 1
        assert [each.pointer for each in given.check(ALL, "a", b"1")] == ["/data"]
        write(file, a={}, b={})
        given.look()
        assert given.warnings == []
        assert registry.get_sample_value("x_catalogue_broken") == 0
        assert registry.get_sample_value("x_catalogue_declared") == 2

    def test_files_that_go_away_change_nothing(self, tmp_path: Path) -> None:
        """A directory that is not mounted for a moment is no empty catalogue."""
        file = tmp_path / "e.json"
        write(file, a={})
        given, _ = declared(file, "refuse")
        file.unlink()
        given.look()
        assert given.problem is not None
        assert not given.check(ALL, "a", b"1")

    def test_a_file_comes_and_goes(self, tmp_path: Path) -> None:
        write(tmp_path / "e.json", a={})
        given, _ = declared(tmp_path)
        write(tmp_path / "f.json", b={})
        given.look()
        assert len(given) == 2
        (tmp_path / "e.json").unlink()
        given.look()
        assert len(given) == 1


class TestSettings:
    def test_without_a_catalogue_there_is_nothing(self) -> None:
        settings = PublisherSettings(jwt_secret=SECRET)
        assert declared_events(settings, CatalogueMetrics(CollectorRegistry(), "x")) is None

    def test_a_mistake_ends_the_start(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text("[")
        settings = PublisherSettings(jwt_secret=SECRET, catalogue=tmp_path)
        with pytest.raises(InvalidSettings) as caught:
            declared_events(settings, CatalogueMetrics(CollectorRegistry(), "x"))
        assert caught.value.problems[0].startswith("CLARION_CATALOGUE: a.json: ")
