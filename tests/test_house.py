"""The rules of the house that a machine keeps: imports run one way, and torch stays where it belongs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = ("spikestrip", "train", "convert", "simulators", "deploy")
"""From the ground up: each knows only those below it."""

FILES = sorted(path.relative_to(ROOT) for floor in FLOORS for path in (ROOT / floor).rglob("*.py"))

TORCH_FREE = ("spikestrip/", "convert/formats/", "convert/load.py", "simulators/backends/numpy.py",
              "simulators/backends/lava/", "simulators/backends/onnxruntime.py", "simulators/run.py")  # fmt: skip
"""Where no module may import torch when it is loaded."""


def imported(node: ast.AST, inside_functions: bool) -> Iterator[str]:
    """The modules that are imported below ``node``, those for type checkers alone left out."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module and not child.level:
            yield child.module
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        elif inside_functions or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from imported(child, inside_functions)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_floor_knows_only_those_below(path: Path) -> None:
    above = FLOORS[FLOORS.index(path.parts[0]) + 1 :]
    known = {name.split(".")[0] for name in imported(ast.parse((ROOT / path).read_text()), inside_functions=True)}
    assert not known & set(above)


@pytest.mark.parametrize("path", [path for path in FILES if path.as_posix().startswith(TORCH_FREE)], ids=str)
def test_no_torch_is_loaded_where_none_is_needed(path: Path) -> None:
    loaded = {name.split(".")[0] for name in imported(ast.parse((ROOT / path).read_text()), inside_functions=False)}
    assert not loaded & {"torch", "train"}


FACES = [path for path in FILES if path.name == "__init__.py" and path.parent != Path("spikestrip")]


@pytest.mark.parametrize("path", FACES, ids=str)
def test_an_init_is_a_face_and_never_the_main_room(path: Path) -> None:
    """It says what lives in the folder, and names what others may use. The face of all, spikestrip, is lazy."""
    tree = ast.parse((ROOT / path).read_text())
    assert ast.get_docstring(tree)
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.If | ast.For
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, kinds)]


def test_the_rules_see_what_breaks_them() -> None:
    source = "import numpy\ndef late():\n    from deploy.verify import verify\n"
    assert list(imported(ast.parse(source), inside_functions=True)) == ["numpy", "deploy.verify"]
    assert list(imported(ast.parse(source), inside_functions=False)) == ["numpy"]


@pytest.mark.parametrize("folder", FLOORS)
def test_no_file_hides_a_package_that_is_used(folder: str) -> None:
    """A script puts its own folder first on the path: ``convert/onnx.py`` would be found in the place of onnx."""
    used = {name.split(".")[0] for path in FILES for name in imported(ast.parse((ROOT / path).read_text()), True)}
    names = {path.stem for path in (ROOT / folder).iterdir() if path.suffix == ".py" or path.is_dir()}
    assert not names & (used - set(FLOORS))
