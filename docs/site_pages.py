"""For ``make docs``: what stands outside of docs/ joins the site, and links to it stay whole (hooks of mkdocs.yml)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
MOVED = {"README.md": "index.md", "zoo/README.md": "zoo-files.md"}
"""Documents, and their place in the site."""
LINK = re.compile(r"(\]\()([^)#\s:]+)")


def on_files(files: Files, config: Any) -> Files:
    """Adds the documents, and every file that a document links to."""
    linked = {path for page in files.documentation_pages() for path in _outside(page.content_string, Path("docs"))}
    for source, target in MOVED.items():
        text, folder = (ROOT / source).read_text(), Path(source).parent
        linked |= _outside(text, folder)
        files.append(File.generated(config, target, content=_inside(text, folder)))
    for path in sorted(linked - set(MOVED)):
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links that leave docs/ lead to the copy in the site."""
    return _inside(markdown, Path("docs")) if page.file.generated_by is None else markdown


def _outside(text: str, folder: Path) -> set[str]:
    return {path for _, target in LINK.findall(text) if (path := _path(target, folder)) is not None}


def _path(target: str, folder: Path) -> str | None:
    """``target``, seen from ``folder``, as a path from the root; None for one inside docs/ or that isn't there."""
    found = (ROOT / folder / target).resolve()
    if not found.is_file() or ROOT not in found.parents or ROOT / "docs" in found.parents:
        return None
    return found.relative_to(ROOT).as_posix()


def _inside(text: str, folder: Path) -> str:
    def moved(link: re.Match[str]) -> str:
        found = (ROOT / folder / link[2]).resolve()
        if ROOT / "docs" in found.parents:
            return link[1] + found.relative_to(ROOT / "docs").as_posix()
        outside = _path(link[2], folder)
        return link[1] + (link[2] if outside is None else MOVED.get(outside, outside))

    return LINK.sub(moved, text)
