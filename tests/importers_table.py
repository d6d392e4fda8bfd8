"""Writes docs/nir-importers.md: what each stock importer did with each graph. Needs the extra ``peers``.

python tests/importers_table.py
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from pathlib import Path

import numpy as np
from importer_graphs import graphs, save
from stock_importers import IMPORTERS

from convert.formats.nir.platforms import importers
from convert.formats.nir.reading import Rules, read
from spikestrip.execution import Stepper

PAGE = Path(__file__).parent.parent / "docs" / "nir-importers.md"
HEAD = """# What stock importers do with a NIR file

Each graph was given to the published importers, with random input of 60 steps and two samples, and held against NIR
as written: forward Euler at dt = 1e-4, fires above the threshold, reset to v_reset. Norse was told that dt; those
of snnTorch and SpikingJelly have it by default; Sinabs counts in steps, so that its neurons differ.

*runs*: equal in every spike, and in every graded output to 1e-3, on that input. *differs*: it answers otherwise, with
no error. *stops*: an exception. A node that an importer drops leaves an empty graph when it is alone, and there the
importer stops; in a longer graph it is left out without a word (`Affine, Scale, LIF`). The input has no ties: at a tie
SpikingJelly and Sinabs fire, snnTorch and Norse don't. Two importers that start a neuron elsewhere than at 0 (Norse at
v_leak, SpikingJelly at v_reset) may still say *runs* here, where the first steps happen to bear it.

`spikestrip check` and `--integrate as-importer:NAME` are tested against the same runs (`tests/test_nir_importers.py`).
This page is written by `python tests/importers_table.py`.

"""


def outcome(importer: str, path: Path, x: np.ndarray, right: np.ndarray) -> str:
    try:
        theirs = IMPORTERS[importer](path, x)
    except Exception:
        return "stops"
    if theirs.size != right.size:
        return "differs"
    return "runs" if np.allclose(theirs, right.reshape(theirs.shape), rtol=1e-3, atol=1e-3) else "differs"


def page() -> str:
    """The whole page."""
    warnings.simplefilter("ignore")
    logging.disable()
    names = list(IMPORTERS)
    lines = ["| graph | " + " | ".join(f"{name} {importers.importer(name).version}" for name in names) + " |"]
    lines.append("|---" * (len(names) + 1) + "|")
    with tempfile.TemporaryDirectory() as folder:
        for title, graph in graphs().items():
            path, x = save(graph, Path(folder) / "graph.nir")
            stepper = Stepper(read(path, Rules()), len(x))
            right = np.stack([stepper.step(x[:, t])[stepper.program.output] for t in range(x.shape[1])], axis=1)
            lines.append(f"| {title} | " + " | ".join(outcome(name, path, x, right) for name in names) + " |")
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
