"""The certificate of a run: what no conforming backend can do otherwise, and the decisions that it could."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from deploy.certification.arithmetics import ARITHMETICS, DEFAULT, INTEGERS, of_trace
from deploy.certification.integers import holds_integers, margins_of_integers
from deploy.certification.margins import Margins, margins
from deploy.certification.past import dependent_from, independent
from deploy.certification.twin import Apart, check_twin, margins_of_twin
from simulators.run import simulate
from simulators.shards import Over
from spikestrip.errors import BadInput, Refused
from spikestrip.operations import FixedOperation
from spikestrip.program import Program
from spikestrip.trace import Trace, input_sha256

EMPTY = "no conforming run of this program on this input differs from these spikes"
LISTED = (
    "in every sample, the first spikes in which a conforming run differs from these are on the list (first: with no "
    "other difference in their causal past); unconditional decisions, with nothing listed in their past, can't differ"
)


@dataclasses.dataclass(repr=False)
class Certificate:
    """What is proven of the spikes that ``program`` fires on ``x`` step by step in float64 on numpy.

    x: (B, T, ...) as a trace holds it; spikes: layer -> (B, T, N) uint8; found: arithmetic -> layer -> Margins.
    twin: the integers of ``program``, to which "integers" then belongs; apart: layer -> how far its membranes are;
    numbers: with a twin, layer -> (B, T, N) int32 of those that send several spikes in a step.
    """

    program: Program
    x: np.ndarray
    spikes: dict[str, np.ndarray]
    found: dict[str, dict[str, Margins]]
    twin: Program | None = None
    apart: dict[str, Apart] = dataclasses.field(default_factory=dict)
    numbers: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __repr__(self) -> str:
        listed = ", ".join(f"{name} {self.listed(name):,}" for name in self.found)
        return f"<Certificate {self.verdict}; listed: {listed}>"

    def listed(self, name: str) -> int:
        """How many decisions could be made otherwise in an arithmetic."""
        return sum(one.keys.size for one in self.found[name].values())

    @property
    def verdict(self) -> str:
        """ "can't differ" where nothing is listed in any arithmetic, else "first differences listed"."""
        return "first differences listed" if any(self.listed(name) for name in self.found) else "can't differ"

    def broken_by(self, trace: Trace, where: object = "trace") -> list[str]:
        """One sentence for each layer of ``trace`` whose first differences aren't on the list: none, if it conforms.

        Raises BadInput for a trace of another program or input, or of an arithmetic that this certificate leaves out.
        """
        ran = trace.attrs.get("program_sha256")
        of_twin = self.twin is not None and ran == self.twin.sha256
        if not of_twin and ran != self.program.sha256:
            raise BadInput(where, "is of another program than the certificate")
        if input_sha256(trace.input) != input_sha256(self.x):
            raise BadInput(where, "is of another input than the certificate")
        name = INTEGERS if of_twin or holds_integers(self.program) else of_trace(trace, where)
        if name not in self.found:
            raise BadInput(where, f"ran in {name}, which this certificate leaves out; it has {', '.join(self.found)}")
        shapes = {layer: one.shape for layer, one in self.found[name].items()}
        recorded = trace.spikes | trace.numbers
        if set(shapes) - set(recorded):
            raise BadInput(where, f"doesn't say how many spikes {', '.join(sorted(set(shapes) - set(recorded)))} sent")
        differ = {layer: np.flatnonzero(self._sent(layer) != recorded[layer]) for layer in shapes}
        since = dependent_from(self.program, differ, shapes)
        sentences = []
        for layer, keys in differ.items():
            first = keys[independent(keys, since[layer], shapes[layer])]
            beyond = first[~np.isin(first, self.found[name][layer].keys)]
            if beyond.size:
                at = dict(zip(("sample", "step", "neuron"), np.unravel_index(beyond[0], shapes[layer]), strict=True))
                place = ", ".join(f"{axis} {int(index)}" for axis, index in at.items())
                sentences.append(
                    f"{where}, layer {layer}: {beyond.size} first differences are not on the list of {name}: {place}"
                )
        return sentences

    def to_dict(self) -> dict[str, Any]:
        """What ``certificate.json`` says of the run itself: no files, no versions."""
        twin = {} if self.twin is None else {"twin_sha256": self.twin.sha256}
        return {
            "program_sha256": self.program.sha256,
            **twin,
            "input_sha256": input_sha256(self.x),
            "spikes_sha256": spikes_sha256(self.spikes | self.numbers),
            "verdict": self.verdict,
            "arithmetics": {name: self._arithmetic(name) for name in self.found},
        }

    def _sent(self, layer: str) -> np.ndarray:
        return self.spikes[layer] if layer in self.spikes else self.numbers[layer]

    def _arithmetic(self, name: str) -> dict[str, Any]:
        covered, layers = ARITHMETICS[name], self.found[name]
        decisions, listed = sum(one.decisions for one in layers.values()), self.listed(name)
        return {
            "conforming": covered.conforming,
            "unit_roundoff": 0.0 if name == INTEGERS else covered.arithmetic.unit,
            "theorems": [dict(theorem) for theorem in covered.theorems],
            "verdict": "first differences listed" if listed else "can't differ",
            "statement": LISTED if listed else EMPTY,
            "decisions": decisions,
            "listed": listed,
            "unconditional": sum(one.unconditional for one in layers.values()),
            "certified": 1 - listed / decisions if decisions else 1.0,
            "layers": {
                layer: _layer(one, self._sent(layer))
                | ({"apart": self.apart[layer].to_dict(one.decisions)} if name == INTEGERS and self.apart else {})
                for layer, one in layers.items()
            },
        }


def _layer(one: Margins, spikes: np.ndarray) -> dict[str, Any]:
    return {
        "shape": list(one.shape),
        "decisions": one.decisions,
        "spikes": int(spikes.sum(dtype=np.int64)),
        "least_excess": one.least,
        "largest_bound": one.largest_bound,
        "exact": one.largest_bound == 0,
        "listed": int(one.keys.size),
        "unconditional": one.unconditional,
        "histogram": one.histogram,
        "first": _first(one),
    }


def _first(one: Margins) -> dict[str, Any] | None:
    """The earliest listed decision of a layer."""
    if not one.keys.size:
        return None
    places = np.stack(np.unravel_index(one.keys, one.shape))
    at = int(np.lexsort((places[2], places[0], places[1]))[0])
    place = dict(zip(("sample", "step", "neuron"), (int(index) for index in places[:, at]), strict=True))
    return {**place, "excess": float(one.excess[at]), "bound": float(one.bounds[at])}


def certify(
    program: Program,
    x: np.ndarray,
    dtypes: Iterable[str] | None = None,
    twin: Program | None = None,
    over: Over | None = None,
) -> Certificate:
    """Run ``program`` on ``x`` step by step in float64, and hold every decision against the rounding of ``dtypes``.

    x: (B, T, *input_shape) or token ids (B, T, 1). dtypes: names of deploy.certification.arithmetics.ARITHMETICS; those
    that the programs can have, if None. twin: the integers that quantisation made of ``program``. over: the processes
    that the samples are spread over (``simulators.shards``), those of a twin left out.
    Raises BadInput, and Refused naming a layer for which no bound is known.
    """
    chosen = _chosen(program, twin, dtypes)
    if twin is not None:
        check_twin(program, twin)
    run = simulate(program, x, "numpy", "float64", over=over)
    numbers = run.numbers if twin is not None else {}
    if not run.spikes | numbers:
        raise BadInput("certify", "the program has no spiking layer: there is nothing to certify")
    found: dict[str, dict[str, Margins]] = {}
    apart: dict[str, Apart] = {}
    for name in chosen:
        if name != INTEGERS:
            found[name] = margins(program, run.input, run.spikes, name, over=over or map)
        elif twin is None:
            found[name] = margins_of_integers(program, run.input, run.spikes, run.events, over or map)
        else:
            found[name], apart = margins_of_twin(program, twin, run.input, run.spikes | numbers)
    return Certificate(program, run.input, run.spikes, found, twin, apart, numbers)


def _chosen(program: Program, twin: Program | None, dtypes: Iterable[str] | None) -> list[str]:
    """The arithmetics to certify for. Raises BadInput for an unknown one, Refused for one that a program can't have."""
    whole = next((layer for layer in program.layers if isinstance(layer.operation, FixedOperation)), None)
    if whole and twin:
        raise BadInput("--twin", "is for a float program; this one is of integers itself")
    if dtypes is None:
        return [INTEGERS] if whole else [*DEFAULT, *([INTEGERS] if twin else [])]
    chosen = list(dict.fromkeys(dtypes))
    for name in chosen:
        if name not in ARITHMETICS:
            raise BadInput("certify", f"knows no arithmetic {name!r}; there are {', '.join(ARITHMETICS)}")
        if whole and name != INTEGERS:
            reason = f"has whole numbers, which {name} isn't the arithmetic of: {INTEGERS} is"
            raise Refused(f"layer {whole.name} ({whole.operation.kind})", reason)
    if INTEGERS in chosen and not whole and not twin:
        raise Refused(INTEGERS, "the program has none: quantize makes them, and --twin names what it made")
    if twin and INTEGERS not in chosen:
        raise BadInput("--twin", f"is for {INTEGERS}, which isn't among {', '.join(chosen)}")
    return chosen


def spikes_sha256(spikes: Mapping[str, np.ndarray]) -> str:
    """Hash of the names, shapes and bits of all spikes, and of numbers of spikes."""
    digest = hashlib.sha256()
    for name, train in spikes.items():
        digest.update(f"{name}{train.shape}".encode())
        several = train.dtype != np.uint8
        digest.update(train.astype("<i4").tobytes() if several else np.packbits(train.astype(bool)).tobytes())
    return digest.hexdigest()
