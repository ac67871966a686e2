"""
The Sphinx extension by which the pages read well on GitHub and as a site, from one text.

* A link to a file or folder of the repository (``../dags/x.py``) leads, in the site, to a page that shows it.
* The table of contents is the root page itself: each heading with the links of the list below it.
* A link whose text is a file's name (``[money.md](money.md)``) is called as the root page calls that page or,
  with an anchor, as the heading is called.
"""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pygments.lexers import get_lexer_for_filename
from pygments.util import ClassNotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

REPOSITORY = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\]\(\.\./([^)#\s]+?)/?(#[^)\s]*)?\)")
SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
ENTRY = re.compile(r"^- \[([^\]]*)\]\(([\w-]+)\.(?:md|rst)\)", re.MULTILINE)
NAMED_BY_FILE = re.compile(r"\[([\w-]+)\.md\]\((\1\.md)(#[^)\s]*)?\)")
#: Files of the repository that are pages of the site.
PAGES = {"CHANGELOG.md": "changelog.rst"}


def read(app: Sphinx, docname: str, source: list[str]) -> None:
    """Turn links into the repository into links within the site, and the root page into a toctree."""
    if app.env.doc2path(docname).suffix != ".md":
        return

    def link(found: re.Match[str]) -> str:
        path, anchor = found[1], found[2] or ""
        if path in PAGES:
            return f"]({PAGES[path]}{anchor})"
        return f"](repository:{path}{anchor})"

    def named(found: re.Match[str]) -> str:
        return f"[]({found[2]}{found[3]})" if found[3] else f"[{names.get(found[1], '')}]({found[2]})"

    root = Path(app.srcdir, f"{app.config.root_doc}.md").read_text()
    names = {page: name for name, page in ENTRY.findall(root)}
    source[0] = NAMED_BY_FILE.sub(named, LINK.sub(link, source[0]))
    if docname == app.config.root_doc:
        for caption, text in SECTION.findall(source[0]):
            entries = "\n".join(f"{name} <{page}>" for name, page in ENTRY.findall(text))
            if entries:
                source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{entries}\n```\n"


def shown_files(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Give a page for each file and folder of the repository that a page links to."""
    linked = set()
    for docname in app.env.found_docs:
        path = Path(app.env.doc2path(docname))
        if path.suffix == ".md":
            linked |= {found[0] for found in LINK.findall(path.read_text())} - PAGES.keys()
    for name in sorted(linked):
        path = REPOSITORY / name
        if path.is_dir():
            files = sorted(file.name for file in path.iterdir() if file.is_file())
            yield page(name, f"<ul>{''.join(f'<li>{shown(name, file)}</li>' for file in files)}</ul>")
            yield from (file_page(app, f"{name}/{file}") for file in files)
        else:
            yield file_page(app, name)


def shown(folder: str, file: str) -> str:
    """Return the link to a file on its folder's page."""
    name = html.escape(file)
    return f'<a href="{html.escape(folder.rsplit("/", 1)[-1])}/{name}.html"><code>{name}</code></a>'


def file_page(app: Sphinx, name: str) -> tuple[str, dict[str, Any], str]:
    """Return the page that shows a file."""
    text = (REPOSITORY / name).read_text()
    try:
        language = get_lexer_for_filename(name).aliases[0]
    except ClassNotFound:
        language = "text"
    builder: Any = app.builder
    return page(name, builder.highlighter.highlight_block(text, language))


def page(name: str, body: str) -> tuple[str, dict[str, Any], str]:
    """Return a page of the site as Sphinx wants it."""
    title = html.escape(name)
    return f"_source/{name}", {"title": title, "body": f"<h1>{title}</h1>{body}", "parents": []}, "page.html"


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to the build."""
    app.connect("source-read", read)
    app.connect("html-collect-pages", shown_files)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
