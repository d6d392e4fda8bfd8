"""The notebooks run from the first cell to the last, and end where their text says."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))


def executed(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What each code cell of a notebook answered, run in ``folder`` beside a link to the zoo."""
    (folder / "zoo").symlink_to(ROOT / "zoo")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    book = nbformat.read(ROOT / "examples" / "notebooks" / name, as_version=4)
    NotebookClient(book, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return ["".join(map(_text, cell.outputs)) for cell in book.cells if cell.cell_type == "code"]


def _text(output: nbformat.NotebookNode) -> str:
    return str(output.get("text", "")) + str(output.get("data", {}).get("text/plain", ""))


def test_from_a_snntorch_module_to_a_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = "\n".join(executed("snntorch_to_verdict.ipynb", tmp_path, monkeypatch))
    assert "\n0 of " in answers  # snnTorch's own spikes, and ONNX Runtime's
    assert "(True, {" in answers
    assert "(False, {" in answers
    assert answers.rstrip().endswith("True")
    assert (tmp_path / "digits.onnx").is_file()


def test_from_a_trained_ssm_to_integers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = executed("ssm_to_loihi2.ipynb", tmp_path, monkeypatch)
    assert "fits on" in answers[-1]
    assert answers[-2] == "0"  # spikes that differ between two machines of integers
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_spiking_ssm_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = "\n".join(executed("modules_of_ours.ipynb", tmp_path, monkeypatch))
    assert "\n0 of " in answers  # the network's own spikes, in float64
    assert answers.rstrip().endswith("(True, True)")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_no_output_is_stored(path: Path) -> None:
    """What a reader sees is what ran on their machine."""
    assert not [cell for cell in nbformat.read(path, as_version=4).cells if cell.get("outputs")]
