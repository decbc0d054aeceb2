"""PostgreSQL's URLs: what is commonly wrong is told in words that show no password."""

from __future__ import annotations

import pytest

from clarion_contract.service.postgres_url import (
    check_postgres_url,
    shown_postgres_url,
    with_postgres_login,
)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://db/shop",
        "postgres://shop@db:6543/shop",
        "postgresql://shop:p%40ss@a:5432,b:5433/shop?target_session_attrs=read-write",
        "postgresql://[::1]:5432/shop",
        "postgresql://shop@a,[::1]:5432/shop",
        "postgresql:///shop?host=/var/run/postgresql",
        "postgresql://db?dbname=shop",
    ],
)
def test_forms_of_libpq_are_good(url: str) -> None:
    assert check_postgres_url(url) == url


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "expected postgresql://"),
        ("host=db password=hush", "expected postgresql://"),
        ("mysql://shop:hush@db/shop", "expected postgresql://"),
        ("postgresql+psycopg://shop:hush@db/shop", r"leave out \+psycopg"),
        ("postgresql://shop:hu#sh@db/shop", "%23"),
        ("postgresql://shop:hu%sh@db/shop", "%25"),
        ("postgresql://shop:hu/sh@db/shop", "percent-encoded"),
        ("postgresql://shop:hush@db:port/shop", "percent-encoded"),
        ("postgresql://[hush/shop", "percent-encoded"),
        ("postgresql://shop:hush@db", "name of a database"),
        ("postgresql://shop:hush@db/", "name of a database"),
    ],
)
def test_another_form_is_refused_without_showing_it(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        check_postgres_url(url)
    assert "hu" not in str(caught.value)


def test_a_login_beside_the_url() -> None:
    url = "postgresql://a:1,b/shop?sslmode=require"
    assert with_postgres_login(url, None, None) == url
    assert (
        with_postgres_login(url, "us/er", "p@ss:word")
        == "postgresql://us%2Fer:p%40ss%3Aword@a:1,b/shop?sslmode=require"
    )
    assert (
        with_postgres_login("postgresql://shop@db/x", None, "é") == "postgresql://shop:%C3%A9@db/x"
    )


@pytest.mark.parametrize(
    ("url", "login", "part"),
    [
        ("postgresql://shop@db/x", ("other", None), "user"),
        ("postgresql://shop:hush@db/x", (None, "other"), "password"),
        ("postgresql://db/x?password=hush", (None, "other"), "password"),
        ("postgresql://db/x?user=shop", ("other", None), "user"),
    ],
)
def test_a_part_of_the_login_stands_once(
    url: str, login: tuple[str | None, str | None], part: str
) -> None:
    with pytest.raises(ValueError, match=f"expected one {part} ") as caught:
        with_postgres_login(url, *login)
    assert "hush" not in str(caught.value)


def test_what_is_shown_has_no_login_and_no_options() -> None:
    url = "postgresql://shop:hush@a:1,b/shop?password=hush"
    assert shown_postgres_url(url) == "postgresql://a:1,b/shop"
    assert shown_postgres_url("postgresql://shop@a,[::1]:1/shop") == "postgresql://a,[::1]:1/shop"
