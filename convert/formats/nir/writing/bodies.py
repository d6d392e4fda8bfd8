"""Nested graphs of standard nodes for what no single NIR node says; each is exact in real arithmetic, or poisoned.

Forward Euler at dt = 1 makes NIR's LI ``v[t] = (1 - 1/tau) v[t-1] + (r I[t] + v_leak)/tau``. Every cycle holds one
stateful node; the edges that enter it from inside its cycle carry the previous step's value.
Keys sort in the order of execution, between ``input`` and ``output``.
"""

from __future__ import annotations

import dataclasses
import itertools
import math

import nir
import numpy as np

from spikestrip.errors import Refused
from spikestrip.operations import LIF, S4D, RefractoryLIF, Shape

POISON = "n0_not_a_number"


@dataclasses.dataclass(frozen=True)
class StreamShapes:
    """The shapes of one step that enter and leave an operation; ``rows``: NIR gives them a leading axis of 1."""

    entering: Shape
    leaving: Shape
    rows: bool

    def lift(self, array: np.ndarray) -> np.ndarray:
        """``array`` with NIR's leading axis."""
        return array[None] if self.rows else array


def strict(threshold: np.ndarray, comparison: str) -> np.ndarray:
    """NIR fires at ``v > v_threshold``: in float64, u' >= vth is exactly u' > the next float below vth."""
    return np.nextafter(threshold, -np.inf) if comparison == "ge" else threshold


def undamped(decay: np.ndarray) -> bool:
    """True when no neuron leaks (IF and I), False when all do. Raises Refused when a layer mixes them."""
    if (decay == 1).all():
        return True
    if (decay == 1).any():
        raise Refused("decay", "mixes neurons with and without leak (decay 1), which no NIR node can hold")
    return False


def leaky(decay: np.ndarray, gain: np.ndarray | float = 1.0, bias: np.ndarray | None = None) -> nir.NIRNode:
    """v[t] = decay*v[t-1] + gain*I[t] + bias as an LI, or an I when nothing leaks; shapes as NIR wants them."""
    if undamped(decay):
        return nir.I(r=np.ones(decay.shape) * gain)
    tau = 1 / (1 - decay)
    leak = np.zeros(decay.shape) if bias is None else np.broadcast_to(bias, decay.shape) * tau
    return nir.LI(tau=tau, r=tau * gain, v_leak=leak)


def s4d(operation: S4D, streams: StreamShapes) -> nir.NIRGraph:
    """h = Abar*h + Bbar*x, 2N rows: the real parts of h, then the imaginary ones.

    An LI holds Re(Abar)*h; the loop swaps the halves and multiplies by -Im(Abar) and +Im(Abar).
    """
    _need_rows(streams, "s4d")
    modes, size = operation.a_re.shape
    swap = np.roll(np.eye(2 * modes), modes, axis=1)
    return _nested(
        streams,
        {
            "n0_fan": _mix(np.ones((2 * modes, 1)), size),
            "n1_input": nir.Scale(np.concatenate([operation.b_re, operation.b_im])),
            "n2_state": leaky(np.concatenate([operation.a_re, operation.a_re])),
            "n3_swap": _mix(swap, size),
            "n4_rotate": nir.Scale(np.concatenate([-operation.a_im, operation.a_im])),
            "n5_output": nir.Scale(np.concatenate([2 * operation.c_re, -2 * operation.c_im])),
            "n6_sum": _mix(np.ones((1, 2 * modes)), size),
            "n7_skip": nir.Scale(operation.d[None]),
            "n8_join": nir.Scale(np.ones((1, size))),
        },
        "input n0_fan n1_input n2_state n3_swap n4_rotate n2_state n5_output n6_sum n8_join output",
        "input n7_skip n8_join",
    )


def lif_soft(operation: LIF, streams: StreamShapes) -> nir.NIRGraph:
    """An LI holds u' before reset: u'[t] = decay*u'[t-1] + I[t] - decay*vth*s[t-1]."""
    lift = streams.lift
    nodes: dict[str, nir.NIRNode] = {
        "n0_gain": nir.Scale(lift(np.ones(streams.entering) if operation.gain is None else operation.gain)),
        "n1_potential": leaky(lift(operation.decay), 1.0, operation.bias),
        "n2_spike": nir.Threshold(lift(strict(operation.threshold, operation.comparison))),
        "n3_reset": nir.Scale(lift(-operation.decay * operation.threshold)),
    }
    if isinstance(nodes["n1_potential"], nir.I) and operation.bias is not None and operation.bias.any():
        raise Refused(operation.kind, "has neurons without leak but with a bias; NIR's I has none")
    entry = "input n0_gain n1_potential"
    if operation.gain is None:
        del nodes["n0_gain"]
        entry = "input n1_potential"
    return _nested(streams, nodes, f"{entry} n2_spike output", "n2_spike n3_reset n1_potential")


def lif_refractory(operation: RefractoryLIF, streams: StreamShapes) -> nir.NIRGraph:
    """One LI of two rows, u' before reset and R; with R[t] = decay_r*R[t-1] + s[t-1] written out,

    u'[t] = decay*u'[t-1] + I[t] - Uth*decay_r*R[t-1] - (Uth + decay*vth)*s[t-1]     (Uth alone if not soft)
    """
    _need_rows(streams, "lif_refractory")
    size = operation.decay.size
    reset = operation.inhibition + (operation.decay * operation.threshold if operation.soft else 0)
    return _nested(
        streams,
        {
            "n0_fan": _mix(np.array([[1.0], [0.0]]), size),
            "n1_state": leaky(np.stack([operation.decay, operation.decay_r])),
            "n2_potential": _mix(np.array([[1.0, 0.0]]), size),
            "n3_spike": nir.Threshold(strict(operation.threshold, "ge")[None]),
            "n4_back": _mix(np.ones((2, 1)), size),
            "n5_reset": nir.Scale(np.stack([-reset, np.ones(size)])),
            "n6_cross": _mix(np.array([[0.0, 1.0], [0.0, 0.0]]), size),
            "n7_inhibit": nir.Scale(np.stack([-operation.inhibition * operation.decay_r, np.zeros(size)])),
        },
        "input n0_fan n1_state n2_potential n3_spike output",
        "n3_spike n4_back n5_reset n1_state",
        "n1_state n6_cross n7_inhibit n1_state",
    )


def poison(streams: StreamShapes) -> nir.NIRGraph:
    """A body that gives NaN: whoever runs it without knowing the operation must not get a plausible number."""
    nan = np.float32(np.nan)
    if streams.entering == streams.leaving:
        node: nir.NIRNode = nir.Scale(np.broadcast_to(nan, streams.lift(np.empty(streams.entering)).shape))
    elif streams.entering[:-1] == streams.leaving[:-1] and math.prod(streams.entering[:-1]) == 1:
        weight = (*streams.entering[:-1], streams.leaving[-1], streams.entering[-1])
        node = nir.Linear(np.broadcast_to(nan, (1, *weight) if streams.rows else weight))
    else:
        raise Refused("poison", f"no Linear takes a stream of shape {streams.entering} to {streams.leaving}")
    return _nested(streams, {POISON: node}, f"input {POISON} output")


def _mix(weight: np.ndarray, size: int) -> nir.Conv1d:
    """A matrix over the rows of a stream (rows, size), the same for every column."""
    bias = np.zeros(weight.shape[0])
    return nir.Conv1d(size, weight[:, :, None], stride=1, padding=0, dilation=1, groups=1, bias=bias)


def _nested(streams: StreamShapes, nodes: dict[str, nir.NIRNode], *paths: str) -> nir.NIRGraph:
    """A nested graph from one step's input to its output; each path is the names of nodes that follow one another."""
    ends = {
        "input": nir.Input(np.array(streams.lift(np.empty(streams.entering)).shape)),
        "output": nir.Output(np.array(streams.lift(np.empty(streams.leaving)).shape)),
    }
    edges: list[tuple[str, str]] = []
    for path in paths:
        names = path.split()
        edges += [edge for edge in itertools.pairwise(names) if edge not in edges]
    return nir.NIRGraph(nodes=ends | nodes, edges=edges, metadata={})


def _need_rows(streams: StreamShapes, kind: str) -> None:
    if not streams.rows:
        raise Refused(kind, "has an exact body for streams of one axis only, and this program has others")
