"""Nested graphs of standard nodes for what no single NIR node says; each is exact in real arithmetic, or poisoned.

Forward Euler at dt = 1 makes NIR's LI ``v[t] = v[t-1] + ((v_leak - v[t-1]) + r I[t])/tau``. Every cycle holds one
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
from spikestrip.operations import LIF, S4D, LeakyIntegrator, RefractoryLIF, Shape

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


def no_bias(operation: LIF | LeakyIntegrator) -> None:
    """Raises Refused for a neuron without leak but with a bias."""
    if operation.bias is not None and operation.bias.any():
        raise Refused(operation.kind, "has neurons without leak but with a bias; NIR's IF and I have none")


def holder(shape: Shape, bias: np.ndarray | None = None) -> nir.LI:
    """An LI that forgets its state in one step, v[t] = I[t] + bias: what a loop around it adds is the dynamics.

    tau and r are 1, so no decay is rounded on its way through 1/tau.
    """
    leak = np.zeros(shape) if bias is None else np.broadcast_to(bias, shape).copy()
    return nir.LI(tau=np.ones(shape), r=np.ones(shape), v_leak=leak)


def s4d(operation: S4D, streams: StreamShapes) -> nir.NIRGraph:
    """h = Abar*h + Bbar*x, 2N rows: the real parts of h, then the imaginary ones.

    Two loops lead back to h: Re(Abar) times each half, and -Im(Abar), +Im(Abar) times the other half.
    """
    need_rows(streams, "s4d")
    modes, size = operation.a_re.shape
    swap = np.roll(np.eye(2 * modes), modes, axis=1)
    return nested(
        streams,
        {
            "n0_fan": mix(np.ones((2 * modes, 1)), size),
            "n1_input": nir.Scale(np.concatenate([operation.b_re, operation.b_im])),
            "n2_state": holder((2 * modes, size)),
            "n3_leak": nir.Scale(np.concatenate([operation.a_re, operation.a_re])),
            "n4_swap": mix(swap, size),
            "n5_rotate": nir.Scale(np.concatenate([-operation.a_im, operation.a_im])),
            "n6_output": nir.Scale(np.concatenate([2 * operation.c_re, -2 * operation.c_im])),
            "n7_sum": mix(np.ones((1, 2 * modes)), size),
            "n8_skip": nir.Scale(operation.d[None]),
            "n9_join": nir.Scale(np.ones((1, size))),
        },
        "input n0_fan n1_input n2_state n3_leak n2_state n4_swap n5_rotate n2_state",
        "n2_state n6_output n7_sum n9_join output",
        "input n8_skip n9_join",
    )


def lif_soft(operation: LIF, streams: StreamShapes) -> nir.NIRGraph:
    """u'[t] = decay*(u'[t-1] - threshold*s[t-1]) + gain*I[t] + bias, u' before reset."""
    lift = streams.lift
    nodes: dict[str, nir.NIRNode] = {
        "n0_gain": nir.Scale(lift(np.ones(streams.entering) if operation.gain is None else operation.gain)),
        "n1_potential": holder(lift(operation.decay).shape, operation.bias),
        "n2_spike": nir.Threshold(lift(strict(operation.threshold, operation.comparison))),
        "n3_reset": nir.Scale(lift(-operation.threshold)),
        "n4_leak": nir.Scale(lift(operation.decay)),
    }
    entry = "input n0_gain n1_potential"
    if operation.gain is None:
        del nodes["n0_gain"]
        entry = "input n1_potential"
    return nested(
        streams, nodes, f"{entry} n2_spike output", "n2_spike n3_reset n4_leak n1_potential", "n1_potential n4_leak"
    )


def li(operation: LeakyIntegrator, streams: StreamShapes) -> nir.NIRNode:
    """NIR's own I or LI where it is exact: 1/(1 - decay) a power of two, as r and v_leak are multiples of it."""
    lift, decay = streams.lift, operation.decay
    gain = np.ones(decay.shape) if operation.gain is None else operation.gain
    bias = np.zeros(decay.shape) if operation.bias is None else operation.bias
    if (decay == 1).all() and not bias.any():
        return nir.I(r=lift(gain))
    if (abs(np.frexp(1 - decay)[0]) == 0.5).all() and (1 - (1 - decay) == decay).all():
        tau = 1 / (1 - decay)
        return nir.LI(tau=lift(tau), r=lift(tau * gain), v_leak=lift(tau * bias))
    return nested(
        streams,
        {
            "n0_gain": nir.Scale(lift(gain)),
            "n1_state": holder(lift(decay).shape, bias),
            "n2_leak": nir.Scale(lift(decay)),
        },
        "input n0_gain n1_state output",
        "n1_state n2_leak n1_state",
    )


def lif_refractory(operation: RefractoryLIF, streams: StreamShapes) -> nir.NIRGraph:
    """One LI of two rows, u' before reset and R.

    R[t] = decay_r*R[t-1] + s[t-1];  u'[t] = decay*(u'[t-1] - threshold*s[t-1]) + I[t] - inhibition*R[t]
    """
    need_rows(streams, "lif_refractory")
    size = operation.decay.size
    one, zero = np.ones(size), np.zeros(size)
    return nested(
        streams,
        {
            "n0_fan": mix(np.array([[1.0], [0.0]]), size),
            "n1_state": holder((2, size)),
            "n2_potential": mix(np.array([[1.0, 0.0]]), size),
            "n3_spike": nir.Threshold(strict(operation.threshold, "ge")[None]),
            "n4_back": mix(np.ones((2, 1)), size),
            "n5_reset": nir.Scale(np.stack([-operation.threshold if operation.soft else zero, one])),
            "n6_recover": nir.Scale(np.stack([one, operation.decay_r])),
            "n7_leak": nir.Scale(np.stack([operation.decay, one])),
            "n8_cross": mix(np.array([[0.0, 1.0], [0.0, 0.0]]), size),
            "n9_inhibit": nir.Scale(np.stack([-operation.inhibition, zero])),
        },
        "input n0_fan n1_state n2_potential n3_spike output",
        "n3_spike n4_back n5_reset n7_leak n1_state",
        "n1_state n6_recover n7_leak",
        "n5_reset n8_cross n9_inhibit n1_state",
        "n6_recover n8_cross",
    )


def poison(streams: StreamShapes) -> nir.NIRGraph:
    """A body that gives NaN: whoever runs it without knowing the operation must not get a plausible number."""
    nan = np.float32(np.nan)
    entering, leaving = streams.entering, streams.leaving
    nodes: dict[str, nir.NIRNode] = {}
    if len(entering) == len(leaving) > 1 and entering != leaving and not streams.rows:
        node = _nan_frames(entering, leaving)
        nodes = _resized(entering, leaving)
    elif entering == leaving:
        node = nir.Scale(np.broadcast_to(nan, streams.lift(np.empty(streams.entering)).shape))
    elif entering[:-1] == leaving[:-1] and math.prod(entering[:-1]) == 1:
        weight = (*entering[:-1], leaving[-1], entering[-1])
        node = nir.Linear(np.broadcast_to(nan, (1, *weight) if streams.rows else weight))
    else:
        raise Refused("poison", f"no node of NIR takes a stream of shape {entering} to {leaving}")
    return nested(streams, {POISON: node, **nodes}, " ".join(("input", POISON, *nodes, "output")))


def _nan_frames(entering: Shape, leaving: Shape) -> nir.NIRNode:
    """A convolution of NaN from ``entering``, (channels, length) or (channels, height, width), to ``leaving``.

    Of frames it makes the channels alone, for nir's type check takes every kernel for square; _resized does the rest.
    """
    if len(entering) == 3:
        weight = np.full((leaving[0], entering[0], 1, 1), np.nan, np.float32)
        return nir.Conv2d(entering[1:], weight, 1, (0, 0), 1, 1, np.zeros(leaving[0], np.float32))
    grown = max(leaving[1] - entering[1], 0)
    weight = np.full((leaving[0], entering[0], entering[1] + 2 * grown - leaving[1] + 1), np.nan, np.float32)
    return nir.Conv1d(entering[1], weight, 1, grown, 1, 1, np.zeros(leaving[0], np.float32))


def _resized(entering: Shape, leaving: Shape) -> dict[str, nir.NIRNode]:
    """What brings a frame to the height and width of ``leaving``."""
    if len(entering) != 3 or entering[1:] == leaving[1:]:
        return {}
    before, after = np.array(entering[1:]), np.array(leaving[1:])
    grown = np.maximum(after - before, 0)
    return {"n1_sized": nir.SumPool2d(before + 2 * grown - after + 1, np.array([1, 1]), grown)}


def mix(weight: np.ndarray, size: int) -> nir.Conv1d:
    """A matrix over the rows of a stream (rows, size), the same for every column."""
    bias = np.zeros(weight.shape[0])
    return nir.Conv1d(size, weight[:, :, None], stride=1, padding=0, dilation=1, groups=1, bias=bias)


def nested(streams: StreamShapes, nodes: dict[str, nir.NIRNode], *paths: str) -> nir.NIRGraph:
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


def need_rows(streams: StreamShapes, kind: str) -> None:
    """Raises Refused for a program with streams of several axes."""
    if not streams.rows:
        raise Refused(kind, "has an exact body for streams of one axis only, and this program has others")
