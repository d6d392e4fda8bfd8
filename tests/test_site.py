"""The site of the documents builds, with every page in its navigation and every link whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="mkdocs-material is not installed: pip install 'spikestrip[docs]'")
ROOT = Path(__file__).parent.parent


def built(root: Path, to: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(to)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def test_it_builds_and_fetches_nothing(tmp_path: Path) -> None:
    done = built(ROOT, tmp_path / "site")
    assert not done.returncode, done.stderr
    first = (tmp_path / "site" / "index.html").read_text()
    assert '<script src="http' not in first
    assert "fonts.googleapis" not in first
    assert (tmp_path / "site" / "zoo" / "index.html").exists()
    assert next((tmp_path / "site").rglob("*.ipynb"))


def test_a_broken_link_is_an_error(tmp_path: Path) -> None:
    for name in ("docs", "examples", "zoo"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "mkdocs.yml").write_text((ROOT / "mkdocs.yml").read_text())
    (tmp_path / "docs").unlink()
    (tmp_path / "docs").mkdir()
    for page in (ROOT / "docs").iterdir():
        if page.is_file() and page.name != "verify.md":
            (tmp_path / "docs" / page.name).write_bytes(page.read_bytes())
    (tmp_path / "README.md").write_text((ROOT / "README.md").read_text())
    done = built(tmp_path, tmp_path / "site")
    assert done.returncode
    assert "verify.md" in done.stderr
