"""The functions in docs/handlers.md that verify the gateway's requests, each run in its language."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from clarion_contract.service.webhooks import Signer
from tests.integration.upstream import SECRET

PAGE = Path(__file__).parents[2] / "docs" / "handlers.md"
BODY = '{"data":"gr\u00fc\u00dfe, and a \\" "}'
OTHER = "whsec_" + "A" * 32

_NODE = """
import { readFileSync } from "node:fs";
for (const { secret, headers, body } of JSON.parse(readFileSync(0, "utf8"))) {
  try {
    verify(secret, headers, Buffer.from(body));
    console.log("yes");
  } catch {
    console.log("no");
  }
}
"""
_PYTHON = """
import json, sys
for case in json.load(sys.stdin):
    try:
        verify(case["secret"], case["headers"], case["body"].encode())
        print("yes")
    except Exception:
        print("no")
"""
_GO = """
func main() {
	var cases []struct {
		Secret  string
		Headers map[string]string
		Body    string
	}
	if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil {
		panic(err)
	}
	for _, each := range cases {
		get := func(name string) string { return each.Headers[name] }
		if Verify(each.Secret, get, []byte(each.Body)) == nil {
			fmt.Println("yes")
		} else {
			fmt.Println("no")
		}
	}
}
"""


@dataclass
class Case:
    """A request, and whether a receiver should take it."""

    name: str
    right: bool
    secrets: Sequence[str] = (SECRET,)
    seconds: int = 0
    body: str = BODY
    without: str = ""
    change: dict[str, str] = field(default_factory=dict)

    def request(self) -> dict[str, object]:
        headers = Signer(self.secrets).headers(
            "msg_1", int(time.time()) + self.seconds, BODY.encode()
        )
        headers.update(self.change)
        headers.pop(self.without, None)
        return {"secret": SECRET, "headers": headers, "body": self.body}


CASES = [
    Case("as it is sent", True),
    Case("while the secret is changed", True, (OTHER, SECRET)),
    Case("of a moment ago", True, seconds=-240),
    Case("by a clock that is ahead", True, seconds=240),
    Case("another secret", False, (OTHER,)),
    Case("another body", False, body=BODY + " "),
    Case("another id", False, change={"webhook-id": "msg_2"}),
    Case("another time", False, change={"webhook-timestamp": str(int(time.time()) + 1_000)}),
    Case("no time", False, change={"webhook-timestamp": "now"}),
    Case("too old", False, seconds=-400),
    Case("from the future", False, seconds=400),
    Case("an empty signature", False, change={"webhook-signature": ""}),
    Case("without a signature", False, without="webhook-signature"),
    Case("without an id", False, without="webhook-id"),
    Case("without a time", False, without="webhook-timestamp"),
]


def snippet(language: str) -> str:
    """The function of the page in a language."""
    page = PAGE.read_text().partition("### Verifying requests\n")[2].partition("\n### ")[0]
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return str(found)


def answers(command: Sequence[str], folder: Path) -> list[str]:
    """The program's answer to each case."""
    done = subprocess.run(
        command,
        cwd=folder,
        input=json.dumps([case.request() for case in CASES]),
        env={**os.environ, "GOFLAGS": "", "GOPROXY": "off", "GO111MODULE": "on"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def check(said: Sequence[str]) -> None:
    expected = {case.name: "yes" if case.right else "no" for case in CASES}
    assert dict(zip(expected, said, strict=True)) == expected


def test_python(tmp_path: Path) -> None:
    (tmp_path / "verify.py").write_text(snippet("python") + _PYTHON)
    check(answers([sys.executable, "verify.py"], tmp_path))


def test_node(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node on this machine")
    (tmp_path / "verify.mjs").write_text(snippet("js") + _NODE)
    check(answers([node, "verify.mjs"], tmp_path))


def test_go(tmp_path: Path) -> None:
    go = shutil.which("go")
    if go is None:
        pytest.skip("no Go on this machine")
    more = 'import (\n\t"encoding/json"\n\t"fmt"\n\t"os"\n)\n'
    (tmp_path / "go.mod").write_text("module verify\n\ngo 1.18\n")
    (tmp_path / "main.go").write_text("package main\n\n" + more + snippet("go") + _GO)
    check(answers([go, "run", "."], tmp_path))
