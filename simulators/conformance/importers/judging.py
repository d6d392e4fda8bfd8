"""What one importer makes of one graph, held against NIR as written."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np

from convert.formats.nir.reading import Rules, standard
from convert.formats.nir.reading.loading import load
from simulators.checking import check
from simulators.checking.machine import fire
from simulators.checking.platforms import PLATFORMS
from simulators.conformance.importers.stock import Run
from spikestrip.program import Program

TOLERANCE = 1e-3
"""Of graded outputs, relative and absolute: importers compute in float32."""
LONGEST = 140  # characters of an importer's own message
Status = Literal["exact", "by rule", "unsaid", "refuses", "silently wrong"]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """status: equal in every spike ("exact"); an exception ("refuses"); other values, each of them made by a rule of
    the platform that is known ("by rule"), or in a cycle of which NIR doesn't say which edge waits ("unsaid"), or
    neither ("silently wrong"). cause: in words.

    right: the output of NIR as written, float64; theirs: the importer's, None where it refuses. Both (B, T, ...).
    """

    status: Status
    cause: str
    right: np.ndarray
    theirs: np.ndarray | None


def judge(importer: str, run: Run, path: Path, x: np.ndarray) -> Verdict:
    """Run the graph of ``path`` on x (B, T, ...) in ``importer`` by ``run``. Raises BadInput where NIR as written can't
    be run itself."""
    program, remarks = standard.program(load(path), Rules())
    right = _outputs(program, x, "float64")
    try:
        theirs = run(path, x)
    except Exception as error:
        said = " ".join(str(error).split())
        return Verdict("refuses", f"{type(error).__name__}: {said}"[:LONGEST], right, None)
    if _close(theirs, right):
        return Verdict("exact", "", right, theirs)
    if any(remark.startswith("ambiguous") for remark in remarks):
        return Verdict("unsaid", "NIR doesn't say which edge of this cycle waits", right, theirs)
    known, cause = _rule(importer, path, x, right, theirs)
    return Verdict("by rule" if known else "silently wrong", cause, right, theirs)


def alike(theirs: np.ndarray, right: np.ndarray) -> bool:
    """Whether two outputs hold a value for each sample, step and neuron alike, in whatever shape the neurons are."""
    return theirs.shape[:2] == right.shape[:2] and theirs.size == right.size


def _close(theirs: np.ndarray, right: np.ndarray) -> bool:
    return alike(theirs, right) and np.allclose(theirs, right.reshape(theirs.shape), rtol=TOLERANCE, atol=TOLERANCE)


def _outputs(program: Program, x: np.ndarray, dtype: Literal["float64", "float32"]) -> np.ndarray:
    return fire(program, x, dtype, (program.output,)).spikes[program.output]


def _rule(importer: str, path: Path, x: np.ndarray, right: np.ndarray, theirs: np.ndarray) -> tuple[bool, str]:
    """Whether the rule that is known of the platform gives what it answered, and the cause in words."""
    platform = next((row for row in PLATFORMS if row.name.split()[0] == importer), None)
    if platform is None:
        return False, "no rule of it is known here"
    row = next(row for row in check(path, x).rows if row.name == platform.name)
    if row.status == "unknown" and not alike(theirs, right):
        return False, f"answers in the shape {theirs.shape}, not {right.shape}"
    if row.status != "differs":
        return False, row.cause or "its known rule says that it runs as NIR"
    program = platform.machine(Rules()).program(load(path))
    modelled = _outputs(program, x, "float32")
    if not _close(theirs, modelled):
        return False, "its known rule gives other values"
    return True, row.cause if row.causes else f"its own equations, which --integrate as-importer:{importer} has"
