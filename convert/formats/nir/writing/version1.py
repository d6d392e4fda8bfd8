"""The encodings of version 1, so that its files can still be held against what they say; no file is written by them.

An LI with tau = 1/(1 - decay) held the leak itself, and its r = gain/(1 - decay) rounded: some ties were lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nir
import numpy as np

from convert.formats.nir.writing.bodies import StreamShapes, mix, need_rows, nested, no_bias, strict, undamped
from spikestrip.operations import LIF, S4D, LeakyIntegrator, Operation, RefractoryLIF


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
    need_rows(streams, "s4d")
    modes, size = operation.a_re.shape
    swap = np.roll(np.eye(2 * modes), modes, axis=1)
    return nested(
        streams,
        {
            "n0_fan": mix(np.ones((2 * modes, 1)), size),
            "n1_input": nir.Scale(np.concatenate([operation.b_re, operation.b_im])),
            "n2_state": leaky(np.concatenate([operation.a_re, operation.a_re])),
            "n3_swap": mix(swap, size),
            "n4_rotate": nir.Scale(np.concatenate([-operation.a_im, operation.a_im])),
            "n5_output": nir.Scale(np.concatenate([2 * operation.c_re, -2 * operation.c_im])),
            "n6_sum": mix(np.ones((1, 2 * modes)), size),
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
    entry = "input n0_gain n1_potential"
    if operation.gain is None:
        del nodes["n0_gain"]
        entry = "input n1_potential"
    return nested(streams, nodes, f"{entry} n2_spike output", "n2_spike n3_reset n1_potential")


def lif_refractory(operation: RefractoryLIF, streams: StreamShapes) -> nir.NIRGraph:
    """One LI of two rows, u' before reset and R; with R[t] = decay_r*R[t-1] + s[t-1] written out,

    u'[t] = decay*u'[t-1] + I[t] - Uth*decay_r*R[t-1] - (Uth + decay*vth)*s[t-1]     (Uth alone if not soft)
    """
    need_rows(streams, "lif_refractory")
    size = operation.decay.size
    reset = operation.inhibition + (operation.decay * operation.threshold if operation.soft else 0)
    return nested(
        streams,
        {
            "n0_fan": mix(np.array([[1.0], [0.0]]), size),
            "n1_state": leaky(np.stack([operation.decay, operation.decay_r])),
            "n2_potential": mix(np.array([[1.0, 0.0]]), size),
            "n3_spike": nir.Threshold(strict(operation.threshold, "ge")[None]),
            "n4_back": mix(np.ones((2, 1)), size),
            "n5_reset": nir.Scale(np.stack([-reset, np.ones(size)])),
            "n6_cross": mix(np.array([[0.0, 1.0], [0.0, 0.0]]), size),
            "n7_inhibit": nir.Scale(np.stack([-operation.inhibition * operation.decay_r, np.zeros(size)])),
        },
        "input n0_fan n1_state n2_potential n3_spike output",
        "n3_spike n4_back n5_reset n1_state",
        "n1_state n6_cross n7_inhibit n1_state",
    )


def lif(operation: LIF, streams: StreamShapes) -> nir.NIRNode:
    """tau = 1/(1 - decay), r = tau*gain, v_leak = tau*bias."""
    if operation.reset_kind == "soft":
        return lif_soft(operation, streams)
    zero = np.zeros(operation.decay.shape)
    gain = zero + 1 if operation.gain is None else operation.gain
    fire = {
        "v_threshold": streams.lift(strict(operation.threshold, operation.comparison)),
        "v_reset": streams.lift(zero if operation.v_reset is None else operation.v_reset),
    }
    if undamped(operation.decay):
        no_bias(operation)
        return nir.IF(r=streams.lift(gain), **fire)
    tau = 1 / (1 - operation.decay)
    bias = zero if operation.bias is None else operation.bias
    return nir.LIF(tau=streams.lift(tau), r=streams.lift(tau * gain), v_leak=streams.lift(tau * bias), **fire)


def li(operation: LeakyIntegrator, streams: StreamShapes) -> nir.NIRNode:
    """As lif, without threshold."""
    gain = np.ones(operation.decay.shape) if operation.gain is None else operation.gain
    return leaky(streams.lift(operation.decay), streams.lift(gain), operation.bias)


ENCODERS: dict[type[Operation], Callable[[Any, StreamShapes], nir.NIRNode]] = {
    LIF: lif,
    RefractoryLIF: lif_refractory,
    LeakyIntegrator: li,
    S4D: s4d,
}
