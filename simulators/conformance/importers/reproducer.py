"""A folder for a silent error: graph, input, the right output, and a short script that needs the importer alone."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path

import numpy as np

from simulators.conformance.importers import stock
from simulators.conformance.importers.judging import TOLERANCE, Verdict, alike
from simulators.conformance.importers.stock import Run
from spikestrip.files import save_array, write_text

SCRIPT = '''"""Run in its folder: prints what is right and what {importer} gives, and ends in 1 while they differ."""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from pathlib import Path

import nir
import numpy as np

DT = {dt}


{driver}

right = np.load("right.npy")
theirs = {name}(Path("model.nir"), np.load("x.npy"))
print("right", right, "{importer}", theirs, sep="\\n")
alike = theirs.shape[:2] == right.shape[:2] and theirs.size == right.size
sys.exit(not (alike and np.allclose(theirs, right.reshape(theirs.shape), {tolerance}, {tolerance})))
'''
README = """# {graph} in {importer}

{cause}.

`model.nir` is the graph (nir {nir}), `x.npy` an input (samples, steps, ...), cut after the first step that differs,
`right.npy` the output of NIR as written in float64: forward Euler at dt = {dt}, fires above the threshold, reset to
v_reset.
`python reproduce.py` needs nir and the importer, prints both answers and ends in 1 while they differ.
"""


def write(folder: Path, graph: str, importer: str, run: Run, verdict: Verdict, path: Path, x: np.ndarray) -> None:
    """Leave the error ``verdict`` of the graph of ``path`` on x in ``folder``: no step after the first that differs."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, folder / "model.nir")
    end = _first(verdict) + 1
    x, right = x[:, :end], verdict.right[:, :end]
    save_array(folder / "x.npy", x)
    save_array(folder / "right.npy", right)
    driver = f"from {run.__module__} import {run.__name__}\n"
    if run.__module__ == stock.__name__:
        driver = "\n\n".join(inspect.getsource(function) for function in (run, stock._stepped))
    script = SCRIPT.format(importer=importer, dt=stock.DT, driver=driver, name=run.__name__, tolerance=TOLERANCE)
    write_text(folder / "reproduce.py", script)
    said = README.format(graph=graph, importer=importer, cause=verdict.cause, nir=stock.version_of("nir"), dt=stock.DT)
    write_text(folder / "README.md", said)


def _first(verdict: Verdict) -> int:
    """The first step of any sample that differs."""
    theirs = verdict.theirs
    if theirs is None or not alike(theirs, verdict.right):
        return 0
    wrong = ~np.isclose(theirs, verdict.right.reshape(theirs.shape), rtol=TOLERANCE, atol=TOLERANCE)
    return int(wrong.reshape(*wrong.shape[:2], -1).any(axis=(0, 2)).argmax())
