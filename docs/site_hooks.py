"""Completes the site: pages and files from outside docs/, links to them, and the code of diagrams.

The Markdown files are written for readers of the repository, so their links lead to other folders.
On the site, the files in `PAGES` are pages. Any other file that a page links to is copied to
``source/<path>.txt``. A link to a folder becomes plain text, since a folder has no page.

The theme would load mermaid.js, which draws the diagrams, from a public host, unless the page has
loaded it already. So the site has a copy, and each page with a diagram loads that one. The pages
then work without a network.
"""

from __future__ import annotations

import posixpath
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).parent.parent

PAGES: Final = {
    "CHANGELOG.md": "changelog.md",
    "bench/README.md": "bench.md",
    "deploy/helm/clarion/README.md": "chart.md",
    "examples/clarion_examples/chat/README.md": "examples/clarion_examples/chat.md",
    "examples/clarion_examples/orders/README.md": "examples/clarion_examples/orders.md",
    "examples/clarion_examples/answer/README.md": "examples/clarion_examples/answer.md",
    "examples/clarion_examples/auction/README.md": "examples/clarion_examples/auction.md",
    "examples/clarion_examples/socketio/README.md": "examples/clarion_examples/socketio.md",
    "examples/clarion_examples/upstream/README.md": "examples/clarion_examples/upstream.md",
    "examples/upstream-express/README.md": "examples/upstream-express.md",
    "README.md": "index.md",
}
"""Paths in the repository and on the site. On the site, docs/index.md replaces README.md."""

MERMAID: Final = "assets/javascripts/mermaid.min.js"
_DIAGRAM: Final = '<pre class="mermaid">'

# A link, or code: brackets in code are not links, but the text of a link may be code.
_LINK_OR_CODE: Final = re.compile(
    r"(?P<text>\[(?:[^\[\]]|\[[^\]]*\])*\])\((?P<target>[^)\s]+)\)"
    r"|^```.*?^```|`[^`\n]+`",
    re.DOTALL | re.MULTILINE,
)


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:  # noqa: ANN401 - mkdocs' own
    """Add the pages from other folders, and mermaid.js."""
    for source, page in PAGES.items():
        if files.get_file_from_path(page) is None:
            content = (ROOT / source).read_text()
            files.append(File.generated(config, page, content=content))
    files.append(File.generated(config, MERMAID, abs_src_path=str(_mermaid())))
    return files


def on_page_markdown(
    markdown: str,
    page: Page,
    config: MkDocsConfig,
    files: Files,
) -> str:
    """Rewrite the links of one page to the site's own addresses."""
    site_path = page.file.src_uri
    origin = next(
        (source for source, name in PAGES.items() if name == site_path and name != "index.md"),
        f"docs/{site_path}",
    )

    def lead(link: re.Match[str]) -> str:
        if link["target"] is None:
            return link[0]
        address, _, anchor = link["target"].partition("#")
        if not address or re.match(r"[a-z]+:", address):
            return link[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(origin), address))
        if (ROOT / target).is_dir():
            return link["text"][1:-1]
        found = _on_site(target, config, files)
        relative = posixpath.relpath(found, posixpath.dirname(site_path) or ".")
        return f"{link['text']}({relative}{'#' + anchor if anchor else ''})"

    return _LINK_OR_CODE.sub(lead, markdown)


def on_post_page(output: str, page: Page, **_: Any) -> str:  # noqa: ANN401 - mkdocs' own
    """Let a page with a diagram load the site's own mermaid.js, before the theme's code runs."""
    if _DIAGRAM not in output:
        return output
    address = posixpath.relpath(MERMAID, posixpath.dirname(page.file.dest_uri) or ".")
    return output.replace("</head>", f'<script src="{address}"></script></head>', 1)


def _mermaid() -> Path:
    """The file from the package mermaidx, which has mermaid's own release of it."""
    package = find_spec("mermaidx")
    if package is None or not package.submodule_search_locations:
        raise FileNotFoundError("expected the package mermaidx: install the extra `docs`")
    return Path(package.submodule_search_locations[0]) / "assets" / "mermaid.js"


def _on_site(target: str, config: MkDocsConfig, files: Files) -> str:
    """The path on the site of a file in the repository. A file that is no page is copied there."""
    if target in PAGES:
        return PAGES[target]
    inside = target.removeprefix("docs/")
    known = files.get_file_from_path(inside) if inside != target else None
    if known and known.inclusion.is_included():
        return inside
    copy = f"source/{target}.txt"
    if files.get_file_from_path(copy) is None and (ROOT / target).is_file():
        files.append(File.generated(config, copy, abs_src_path=str(ROOT / target)))
    return copy
