"""NIR for one importer: the file from which *that* stock importer makes our spikes in its own float32, or a refusal.

No stock importer holds an S4D. What an importer drops, renames, changes or draws at random is refused by layer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import nir
import numpy as np

from convert.formats.nir.platforms.bounds import spikes_once
from convert.formats.nir.writing.names import RENAMED, as_text, numbered
from spikestrip.errors import Refused
from spikestrip.operations import LIF, S4D, Affine, Join, LeakyIntegrator, Operation
from spikestrip.program import INPUT, Layer, Program

OUTPUT = "output"
SNNTORCH_DT = 1e-4


@dataclasses.dataclass(frozen=True)
class Dialect:
    """encode: an operation as the importer needs it; raises Refused(kind, reason).

    sends_several: the importer's neuron sends floor(v/threshold) spikes, so that inputs must be bounded.
    """

    importer: str
    encode: Callable[[Operation], nir.NIRNode]
    sends_several: bool = False


def graph(program: Program, name: str) -> nir.NIRGraph:
    """``program`` in the dialect ``name`` ("snntorch", "sinabs"). Raises Refused for the first layer it can't hold.

    Streams have shape (H,). Joins become edges that add. Where spikes agree only up to some size of the input, the
    metadata says so as ``max_input``. Importers run nodes in alphabetical order: where that is not the
    layers' own, or one is called ``output``, all are numbered, and the metadata says so as ``renamed``.
    """
    dialect = DIALECTS[name]
    for layer in program.layers:
        if isinstance(layer.operation, S4D):
            raise Refused(layer.name, "is an S4D, and no stock importer holds an S4D; use --dialect canonical")
        if len(program.entering_shape(layer)) > 1:
            raise Refused(layer.name, f"takes streams of several axes, which {dialect.importer} is not written for")
    own = [layer.name for layer in program.layers if not isinstance(layer.operation, Join)]
    names = {} if sorted([INPUT, *own]) == [INPUT, *own] and OUTPUT not in own else numbered(own)
    nodes: dict[str, nir.NIRNode] = {INPUT: nir.Input(np.array(program.input_shape))}
    edges: list[tuple[str, str]] = []
    for layer in program.layers:
        if isinstance(layer.operation, Join):
            continue
        sources = _sources(program, layer)
        if len(sources) > 2:
            raise Refused(layer.name, f"adds {len(sources)} streams, and {dialect.importer} adds them in any order")
        try:
            nodes[names.get(layer.name, layer.name)] = dialect.encode(layer.operation)
        except Refused as error:
            raise Refused(layer.name, f"{dialect.importer}: {error.reason}") from error
        edges += [(names.get(source, source), names.get(layer.name, layer.name)) for source in sources]
    if isinstance(_layer(program, program.output).operation, Join):
        raise Refused(program.output, f"is a join at the output, where {dialect.importer} doesn't add")
    for layer in program.layers:
        if layer.name != program.output and not any(layer.name in reader.inputs for reader in program.layers):
            raise Refused(layer.name, f"is read by nothing, and {dialect.importer} would make it a second output")
    output = names.get(program.output, program.output)
    metadata: dict[str, object] = {"spikestrip": name, "spikestrip_version": 1}
    if dialect.sends_several:
        metadata["max_input"] = spikes_once(program)
    if names:
        metadata[RENAMED] = as_text(names)
    nodes[OUTPUT] = nir.Output(np.array(program.shapes[program.output]))
    return nir.NIRGraph(nodes, [*edges, (output, OUTPUT)], metadata=metadata)


def _layer(program: Program, name: str) -> Layer:
    return next(layer for layer in program.layers if layer.name == name)


def _sources(program: Program, layer: Layer) -> list[str]:
    """What feeds ``layer``, joins written out. Raises Refused for recurrence and for a stream that is added twice."""
    if layer.delayed:
        raise Refused(
            layer.name, "is fed by a delayed edge, which importers rename, wire anew, or run in another order"
        )
    found: list[str] = []
    for source in layer.inputs:
        through = source != INPUT and isinstance(_layer(program, source).operation, Join)
        found += _sources(program, _layer(program, source)) if through else [source]
    if len(set(found)) < len(found):
        raise Refused(layer.name, "adds one stream twice, and NIR has one edge between two nodes")
    return found


def _affine(operation: Affine) -> nir.Affine:
    bias = np.zeros(operation.weight.shape[0], np.float32) if operation.bias is None else operation.bias
    return nir.Affine(operation.weight.astype(np.float32), bias.astype(np.float32))


def _snntorch(operation: Operation) -> nir.NIRNode:
    """snnTorch 1.0.0: beta = 1 - 1e-4/tau, one threshold for a layer, fires above it, then resets to zero."""
    if isinstance(operation, Affine):
        return _affine(operation)
    if isinstance(operation, LIF):
        if operation.reset_kind == "soft":
            raise Refused("lif", "resets every imported LIF to zero, never by subtraction")
        if operation.v_reset is not None and operation.v_reset.any():
            raise Refused("lif", "leaves v_reset out")
        if operation.bias is not None and operation.bias.any():
            raise Refused("lif", "stops at a v_leak that is not 0")
        if operation.gain is not None and (operation.gain != 1).any():
            raise Refused("lif", "divides the threshold by the input's factor instead of multiplying the input")
        if np.unique(operation.threshold).size > 1 or operation.threshold.flat[0] <= 0:
            raise Refused("lif", "needs one positive threshold for all neurons of a layer")
        if (operation.decay == 1).any():
            raise Refused("lif", "makes Leaky(0.9, subtract) of a neuron without leak")
        if (operation.decay < 0).any() or (operation.decay > 1).any():
            raise Refused("lif", "clamps decays to 0..1")
        tau = _searched(operation.decay, lambda a: SNNTORCH_DT / (1 - a), lambda tau: 1 - SNNTORCH_DT / tau)
        zero = np.zeros_like(tau)
        return nir.LIF(tau, tau / SNNTORCH_DT, zero, _threshold(operation, "gt"), zero)
    raise Refused(operation.kind, f"does not run {operation.kind}: it knows Affine and LIF")


def _sinabs(operation: Operation) -> nir.NIRNode:
    """Sinabs 3.1.3: alpha = exp(-1/tau), fires at the threshold, subtracts it; leaves out r, drops unknown nodes."""
    if isinstance(operation, Affine):
        return _affine(operation)
    if not isinstance(operation, LIF | LeakyIntegrator):
        raise Refused(operation.kind, f"drops {operation.kind} without a word: it knows Affine, LIF and LI")
    if operation.bias is not None and operation.bias.any():
        raise Refused(operation.kind, "stops at a v_leak that is not 0")
    if operation.gain is not None and (operation.gain != 1).any():
        raise Refused(operation.kind, "leaves r out, so the input's factor must be 1")
    if (operation.decay == 1).any():
        raise Refused(operation.kind, "drops I and clips IF at minus its threshold: every neuron must leak")
    if (operation.decay <= 0).any() or (operation.decay > 1).any():
        raise Refused(operation.kind, "decays by exp(-1/tau): only decays between 0 and 1 can be said")
    tau = _searched(
        operation.decay,
        lambda a: (-1 / np.log(a)).astype(np.float32),
        lambda tau: np.exp((np.float32(-1) / tau).astype(np.float64)),
    )
    zero = np.zeros_like(tau)
    if isinstance(operation, LeakyIntegrator):
        return nir.LI(tau, zero + 1, zero)
    if operation.reset_kind == "hard":
        raise Refused("lif", "resets every imported LIF by subtraction, never to a value")
    return nir.LIF(tau, zero + 1, zero, _threshold(operation, "ge"), zero)


def _threshold(operation: LIF, importer: str) -> np.ndarray:
    """The float32 threshold with which an importer that compares by ``importer`` fires as our neuron in float32."""
    threshold = operation.threshold.astype(np.float32)
    if operation.comparison == importer:
        return threshold
    return np.nextafter(threshold, np.float32(-np.inf if importer == "gt" else np.inf))


def _searched(
    decay: np.ndarray, inverse: Callable[[np.ndarray], np.ndarray], formula: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """The tau for which the importer's ``formula`` gives the float32 of ``decay``; Refused where there is none.

    ``inverse`` leads from a decay to tau. The formula, in float64 but for what the importer rounds on its way, must be
    clearly nearest to the wanted float32, so that the importer's own rounding ends there.
    """
    wanted = decay.astype(np.float32)
    first = inverse(wanted.astype(np.float64))
    near = np.stack([first + k * np.spacing(first) for k in (0, -1, 1)])
    away = abs(formula(near) - wanted)
    tau = np.take_along_axis(near, away.argmin(axis=0)[None], axis=0)[0]
    far = away.min(axis=0) > 0.4 * np.spacing(wanted)
    if far.any():
        raise Refused("lif", f"has no tau that gives the decay {float(decay[far].flat[0])} in float32")
    return tau


DIALECTS = {
    "snntorch": Dialect("snnTorch's importer", _snntorch),
    "sinabs": Dialect("Sinabs' importer", _sinabs, sends_several=True),
}
