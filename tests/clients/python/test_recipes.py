"""The recipes of docs/recipes.md: each file of the page runs beside a real publisher.

Django and Celery are not among the test requirements; where they are not installed, their tests are
skipped.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clarion import user
from tests.cli.clarion import SECRET, environment
from tests.publisher.service import Service, serving
from tests.test_docs import DOCS

SECONDS = 120
FILES = {
    name: block
    for block in re.findall(r"```python\n(.*?)```", (DOCS / "recipes.md").read_text(), re.DOTALL)
    for name in re.findall(r"\A# (\w+\.py)\n", block)
}

FASTAPI = """
from fastapi.testclient import TestClient
from shop_fastapi import app

with TestClient(app) as client:
    for _ in range(2):
        print(client.post("/orders/42/send", params={"customer": "alice"}).json()["event"])
"""

DJANGO = """
import django
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["testserver"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    ROOT_URLCONF="urls",
    SECRET_KEY="secret",
)
django.setup()
from django.db import transaction
from django.test import Client
from shop_django import publisher, send

for _ in range(2):
    assert Client().get("/orders/42/send", {"customer": "alice"}).json() == {"order": 42}
try:
    with transaction.atomic():
        Client().get("/orders/43/send", {"customer": "alice"})
        raise LookupError
except LookupError:
    pass
publisher.close()
"""
URLS = """
from django.urls import path
from shop_django import send

urlpatterns = [path("orders/<int:order_id>/send", send)]
"""

CELERY = """
from celery.contrib.testing.worker import start_worker
from shop_celery import app, order_sent

with start_worker(app, perform_ping_check=False, pool="solo"):
    print(order_sent.delay(42, "alice").get(timeout=60))
    print(order_sent.delay(42, "alice").get(timeout=60))
"""


@pytest.fixture
def service(redis_url: str, namespace: str) -> Iterator[Service]:
    with serving(redis_url, namespace=namespace, jwt_secret=SECRET) as service:
        yield service


def run(service: Service, folder: Path, code: str, **changes: str) -> list[str]:
    """The output of a program that uses the files of the page."""
    for name, block in FILES.items():
        (folder / name).write_text(block)
    (folder / "urls.py").write_text(URLS)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment(
            CLARION_PUBLISHER_URL=service.url, CLARION_JWT_SECRET=SECRET, **changes
        ),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split()


def needs(module: str) -> pytest.MarkDecorator:
    found = importlib.util.find_spec(module)
    return pytest.mark.skipif(found is None, reason=f"{module} is not installed")


def test_the_page_has_these_files() -> None:
    assert FILES.keys() == {"shop_fastapi.py", "shop_django.py", "shop_celery.py"}


def test_fastapi(service: Service, tmp_path: Path) -> None:
    ids = run(service, tmp_path, FASTAPI)
    (event,) = service.published(user("alice"))
    assert ids == [str(event.id)] * 2
    assert json.loads(event.data) == {"id": 42}


@needs("django")
def test_django_publishes_after_the_commit_and_not_after_a_rollback(
    service: Service, tmp_path: Path
) -> None:
    run(service, tmp_path, DJANGO)
    (event,) = service.published(user("alice"))
    assert json.loads(event.data) == {"id": 42}


@needs("celery")
def test_celery(service: Service, tmp_path: Path) -> None:
    ids = run(
        service, tmp_path, CELERY, CELERY_BROKER="memory://", CELERY_BACKEND="cache+memory://"
    )
    (event,) = service.published(user("alice"))
    assert ids == [str(event.id)] * 2
