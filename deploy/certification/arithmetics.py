"""The arithmetics that a certificate covers: who conforms to each, and the theorems that bound its rounding."""

from __future__ import annotations

import dataclasses
import math

from deploy.verification.bounds import Arithmetic
from deploy.verification.contradictions import EXACT
from deploy.verification.side import UNIT
from spikestrip.errors import BadInput
from spikestrip.program import Program
from spikestrip.trace import Trace

SECOND_ORDER = 2  # the running bound is of first order: with a unit twice as large it covers what that leaves out
LARGEST = 0.5  # of roundings in a row times the unit, up to which that is so: (1 + u)^n <= exp(n u) < 2
UNDERFLOW = {"float32": 2.0**-100, "float64": 2.0**-1000}  # added to every bound that isn't 0: products may underflow

IEEE = {
    "theorem": "standard model of floating-point arithmetic: fl(a op b) = (a op b)(1 + d), |d| <= u",
    "reference": "Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., SIAM 2002, section 2.2",
}
SUMS = {
    "theorem": "a sum of n products, in any order, fused or not, is off by at most n u / (1 - n u) times the sum of "
    "their magnitudes",
    "reference": "Higham 2002, sections 3.1 and 4.2",
}
RUNNING = {
    "theorem": "running error analysis: the bound is carried along with the computed values; its unit is doubled, "
    "which covers the terms of higher order as long as the roundings in a row times the unit stay below 1/2",
    "reference": "Higham 2002, section 3.3",
}
FFT = {
    "theorem": "theorem 5.1, the error of a convolution by FFT in the 2-norm",
    "reference": "Percival, Rapid multiplication modulo the sum and difference of highly composite numbers, "
    "Math. Comp. 72 (2003)",
}
WHOLE = {
    "theorem": "whole numbers below 2^53 and powers of two times them are exact in float64, and so are their sums and "
    "floors, in any order: every backend that holds the program has the same integers",
    "reference": "IEEE 754-2019, section 4.3; Higham 2002, section 2.1",
}


@dataclasses.dataclass(frozen=True)
class Covered:
    """One arithmetic: ``conforming`` says who keeps to it."""

    dtype: str
    parallel: bool
    conforming: str
    theorems: tuple[dict[str, str], ...]

    @property
    def arithmetic(self) -> Arithmetic:
        return Arithmetic(self.dtype, SECOND_ORDER * UNIT[self.dtype], self.parallel)


INTEGERS = "integers"


def _iterative(dtype: str) -> Covered:
    conforming = (
        f"runs step by step in IEEE {dtype}, rounding to nearest without flush to zero; parameters and input rounded "
        f"to {dtype}; elementwise operations in the order of the program's equations; sums of products in any order, "
        "fused or not; exp, square root and quotient within a few units in the last place"
    )
    return Covered(dtype, False, conforming, (IEEE, SUMS, RUNNING))


def _parallel(dtype: str) -> Covered:
    conforming = (
        f"computes whole sequences in IEEE {dtype}: SSMs by FFT or by blocks, neurons by a form that decides as the "
        f"iterative neuron ({', '.join(EXACT)}), norms folded or not, thresholds stored or as an exp"
    )
    return Covered(dtype, True, conforming, (IEEE, SUMS, RUNNING, FFT))


ARITHMETICS = {
    "float64": _iterative("float64"),
    "float32": _iterative("float32"),
    "float64-parallel": _parallel("float64"),
    "float32-parallel": _parallel("float32"),
    INTEGERS: Covered(
        "float64",
        False,
        "computes every layer of the program of integers in whole numbers; in sums of 32 bits that wrap, as stock "
        "lava-nc, or in wider ones, or in such as stop at their ends, or cuts messages to 24 bits (decisions from "
        "where a sum or message of more than its width was counted are listed)",
        (WHOLE,),
    ),
}
DEFAULT = ("float64", "float32", "float32-parallel")


def of_trace(trace: Trace, where: object) -> str:
    """The arithmetic that a trace says it ran in. Raises BadInput for one that no certificate covers."""
    dtype, form = str(trace.attrs.get("dtype", "")), str(trace.attrs.get("form", "iterative"))
    method = str(trace.attrs.get("parallel", ""))
    if form == "parallel" and (method not in EXACT and (method != "pmbc" or trace.attrs.get("iterations"))):
        raise BadInput(where, f"was computed by {method or 'an unnamed form'}, which may decide as no neuron does")
    name = f"{dtype}-parallel" if form == "parallel" else dtype
    if name not in ARITHMETICS:
        raise BadInput(where, f"ran in {name or 'an unnamed dtype'}; certificates cover {', '.join(ARITHMETICS)}")
    return name


def check_depth(program: Program, steps: int, name: str) -> None:
    """Raise BadInput where a run is so long that the doubled unit no longer covers the terms of higher order."""
    sums = sum(math.prod(program.entering_shape(layer)) + 40 for layer in program.layers)
    share = (sums + 8 * steps * len(program.layers)) * ARITHMETICS[name].arithmetic.unit
    if share > LARGEST:
        raise BadInput(
            "certify", f"{steps} steps are too many for {name}: roundings times unit come to {share:.2g} > 1/2"
        )
