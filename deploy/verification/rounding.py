"""How far the potentials of a run in some dtype can be from those of the float64 replay: a bound for every neuron.

First order, worst case, from the dtype's unit roundoff, the largest magnitudes that the replay saw, and the lengths of
the sums. Clamping cuts it short: a spike is exact, so an error lives only between one spiking layer and the next, in
the states on that way, and in the membrane. Derivation and references in docs/verify.md.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from spikestrip.execution import Stepper
from spikestrip.operations import (
    GLU,
    LIF,
    S4D,
    Affine,
    Array,
    Bernoulli,
    Conv1d,
    Conv2d,
    LayerNorm,
    LeakyIntegrator,
    Operation,
    RefractoryLIF,
    Scale,
    SpikingOperation,
    Threshold,
)  # fmt: skip
from spikestrip.program import INPUT, Layer, Program

STATEMENT = (
    "|u' - vth| within a first-order worst-case bound: unit roundoff x (operations on the longest path) x (largest "
    "magnitudes seen in the replay), states with the gain of their decay over all steps, parallel SSMs as FFT after "
    "Percival (2003); the bound is given for each layer, the largest of its neurons"
)


class Magnitudes:
    """The largest absolute values that passed: of what entered each layer, and of outputs (or u') and states that the
    rules below ask for. ``deviation``: the smallest sqrt(var + eps) that a LayerNorm divided by."""

    def __init__(self, program: Program, steps: int) -> None:
        self.steps = steps
        self.entering = {layer.name: np.zeros(program.entering_shape(layer)) for layer in program.layers}
        kept = {
            layer.name
            for layer in program.layers
            if isinstance(layer.operation, SpikingOperation | LeakyIntegrator | LayerNorm)
        }
        kept |= {source for layer in program.layers if len(_sources(layer)) > 2 for source in _sources(layer)}
        self.output = {name: np.zeros(program.shapes[name]) for name in sorted(kept | {program.output})}
        self.state = {
            layer.name: {name: np.zeros(shape) for name, shape in program.state_shapes(layer).items()}
            for layer in program.layers
            if isinstance(layer.operation, S4D | RefractoryLIF)
        }
        self.deviation = dict.fromkeys(
            (layer.name for layer in program.layers if isinstance(layer.operation, LayerNorm)), math.inf
        )

    def update(self, stepper: Stepper, streams: dict[str, Array]) -> None:
        """Look at the step that ``stepper`` has just made."""
        for name, largest in self.entering.items():
            _raise(largest, stepper.entering[name])
        for name, largest in self.output.items():
            _raise(largest, stepper.potentials.get(name, streams[name]))
        for name, states in self.state.items():
            for variable, largest in states.items():
                _raise(largest, stepper.state[name][variable])
        for layer in stepper.program.layers if self.deviation else ():
            if isinstance(layer.operation, LayerNorm):
                smallest = float(np.sqrt(stepper.entering[layer.name].var(axis=1).min() + layer.operation.eps))
                self.deviation[layer.name] = min(self.deviation[layer.name], smallest)


def _raise(largest: np.ndarray, values: Array) -> None:
    np.maximum(largest, np.abs(values).max(axis=0), out=largest)


def _sources(layer: Layer) -> tuple[str, ...]:
    return (*layer.inputs, *layer.delayed)


@dataclasses.dataclass
class Context:
    """What an error rule knows: e, m: error and magnitude of what enters; out: magnitude of the output or of u'."""

    e: np.ndarray
    m: np.ndarray
    out: np.ndarray
    state: dict[str, np.ndarray]
    deviation: float
    unit: float
    steps: int
    fft: bool


def bounds(program: Program, seen: Magnitudes, unit: float, parallel: bool) -> dict[str, np.ndarray | None]:
    """Layer -> bound on the error of its output, of u' if it spikes; None where no rule is known (never guessed).

    unit: sum of the unit roundoffs of both computations; parallel: SSMs by FFT, their kernels made in float64.
    """
    errors: dict[str, np.ndarray | None] = {}
    exact = {INPUT} | {layer.name for layer in program.spiking}
    pending = list(program.layers)
    while pending:  # what is fed back by spikes alone has a bound before the layer that it is fed back to
        ready = (layer for layer in pending if all(name in exact or name in errors for name in _sources(layer)))
        layer = next(ready, pending[0])
        pending.remove(layer)
        sources = _sources(layer)
        rule = RULES.get(layer.operation.kind)
        received = [error for name in sources if name not in exact and (error := errors.get(name)) is not None]
        if rule is None or len(received) < sum(name not in exact for name in sources):
            errors[layer.name] = None
            continue
        m = seen.entering[layer.name]
        e = np.zeros_like(m)
        for error in received:
            e = e + error
        if len(sources) == 2:
            e = e + unit * m
        elif len(sources) > 2:  # a partial sum can be larger than the whole
            parts = sum(seen.output[name] + (name in exact) for name in sources)
            e = e + (len(sources) - 1) * unit * parts
        error = rule(
            layer.operation,
            Context(
                e, m, seen.output.get(layer.name, m), seen.state.get(layer.name, {}),
                seen.deviation.get(layer.name, 1.0), unit, seen.steps, parallel,
            ),
        )  # fmt: skip
        errors[layer.name] = error if np.isfinite(error).all() else None
    return errors


def _gain(decay: np.ndarray, steps: int) -> np.ndarray:
    """1 + |decay| + ... + |decay|^(steps-1): what one error per step adds up to."""
    decay = np.abs(np.asarray(decay, np.float64))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where(decay == 1, steps, (1 - decay**steps) / (1 - decay))


def _affine(op: Affine, c: Context) -> np.ndarray:
    weight = np.abs(op.weight.astype(np.float64)).T
    bias = 0.0 if op.bias is None else np.abs(op.bias)
    return c.e @ weight + (weight.shape[0] + 1) * c.unit * (c.m @ weight + bias)


def _linear(op: Any, c: Context) -> np.ndarray:
    """A convolution or a pooling: the same operation on absolute weights carries magnitudes and errors."""
    terms = op.weight[0].size if isinstance(op, Conv1d | Conv2d) else op.kernel_y * op.kernel_x
    if isinstance(op, Conv1d | Conv2d):
        op = dataclasses.replace(op, weight=np.abs(op.weight), bias=None if op.bias is None else np.abs(op.bias))
    unbiased = dataclasses.replace(op, bias=None) if isinstance(op, Conv1d | Conv2d) else op
    received = unbiased.step(np, {}, c.e[None])[1][0]
    return np.asarray(received + (terms + 2) * c.unit * op.step(np, {}, c.m[None])[1][0])


def _threshold(op: Threshold, c: Context) -> np.ndarray:
    return c.e + c.unit * np.abs(op.threshold)


def _scale(op: Scale, c: Context) -> np.ndarray:
    return np.abs(op.scale) * (c.e + 2 * c.unit * c.m)


def _glu(op: GLU, c: Context) -> np.ndarray:
    half = c.m.shape[-1] // 2
    # sigmoid' <= 1/4; 8 covers exp, sum, quotient and product
    return c.e[..., :half] + c.m[..., :half] * (c.e[..., half:] / 4 + 8 * c.unit)


def _gelu(op: Operation, c: Context) -> np.ndarray:
    # |GELU'| <= 1.13; two polynomials of degree 12 without cancellation, 24 roundings each, and a dozen more
    return 1.13 * c.e + 40 * c.unit * c.m


def _bernoulli(op: Bernoulli, c: Context) -> np.ndarray:
    """Of p - r: a clamp adds no error, and r is exact."""
    a, b = np.abs(op.a), np.abs(op.b)
    return a * c.e + 3 * c.unit * (a * c.m + b + 1)


def _layer_norm(op: LayerNorm, c: Context) -> np.ndarray:
    size = c.m.shape[0]
    weight, bias = np.abs(op.weight), np.abs(op.bias)
    # the Jacobian is a projection over the deviation: at most 1/deviation in the 2-norm
    moved = weight / c.deviation * (np.linalg.norm(c.e) + (size + 8) * c.unit * c.m.max())
    return moved + (size + 8) * c.unit * (c.out + 2 * bias)


def _s4d(op: S4D, c: Context) -> np.ndarray:
    a, b, readout = (np.hypot(re, im) for re, im in ((op.a_re, op.a_im), (op.b_re, op.b_im), (op.c_re, op.c_im)))
    h = np.hypot(c.state["re"], c.state["im"])
    l1, l2 = _kernel_norms(op, c.steps)
    received = l1 * c.e + np.abs(op.d) * c.e + 4 * c.unit * np.abs(op.d) * c.m
    if c.fft:
        # Percival 2003, theorem 5.1, to first order: unit*(3n + sqrt5*(3n+1) + 3n)*|K|*|x|; and K, x rounded once
        n = math.ceil(math.log2(2 * c.steps)) + 1
        return received + (6 * n + math.sqrt(5) * (3 * n + 1) + 2) * c.unit * l2 * math.sqrt(c.steps) * c.m
    # each step rounds three products, two sums and three constants; then a tree over the modes
    stepped = (2 * readout * _gain(a, c.steps) * 6 * c.unit * (a * h + b * c.m)).sum(axis=0)
    levels = math.ceil(math.log2(max(a.shape[0], 2)))
    return received + stepped + (levels + 5) * c.unit * (2 * readout * h).sum(axis=0)


def _kernel_norms(op: S4D, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Sum of |K| and root of the sum of K^2 over the steps, for each channel."""
    a, power = op.a_re + 1j * op.a_im, (op.b_re + 1j * op.b_im) * (op.c_re + 1j * op.c_im)
    l1, squares = np.zeros(a.shape[1]), np.zeros(a.shape[1])
    for _ in range(steps):
        k = 2 * power.real.sum(axis=0)
        l1 += np.abs(k)
        squares += k * k
        power = power * a
    return l1, np.sqrt(squares)


def _li(op: LeakyIntegrator, c: Context) -> np.ndarray:
    gain = 1.0 if op.gain is None else np.abs(op.gain)
    bias = 0.0 if op.bias is None else np.abs(op.bias)
    return _gain(op.decay, c.steps) * (gain * c.e + 5 * c.unit * (np.abs(op.decay) * c.out + gain * c.m + bias))


def _lif(op: LIF, c: Context) -> np.ndarray:
    gain = 1.0 if op.gain is None else np.abs(op.gain)
    rest = np.abs(op.threshold) + sum(np.abs(array) for array in (op.bias, op.v_reset) if array is not None)
    return _gain(op.decay, c.steps) * (gain * c.e + 6 * c.unit * (np.abs(op.decay) * c.out + gain * c.m + rest))


def _refractory(op: RefractoryLIF, c: Context) -> np.ndarray:
    r = c.state["r"]
    inhibited = op.inhibition * (_gain(op.decay_r, c.steps) * 3 * c.unit * r + 3 * c.unit * r)
    rest = np.abs(op.decay) * c.out + c.m + np.abs(op.threshold)
    return _gain(op.decay, c.steps) * (c.e + inhibited + 7 * c.unit * rest)


RULES: dict[str, Callable[..., np.ndarray]] = {
    "affine": _affine,
    "scale": _scale,
    "join": lambda op, c: c.e,
    "delay": lambda op, c: c.e,
    "flatten": lambda op, c: op.step(np, {}, c.e[None])[1][0],
    "conv1d": _linear,
    "conv2d": _linear,
    "sum_pool2d": _linear,
    "avg_pool2d": _linear,
    "threshold": _threshold,
    "clamp": lambda op, c: c.e + c.unit * max(abs(op.low or 0), abs(op.high or 0)),
    "glu": _glu,
    "gelu": _gelu,
    "layer_norm": _layer_norm,
    "s4d": _s4d,
    "li": _li,
    "lif": _lif,
    "lif_refractory": _refractory,
    "bernoulli": _bernoulli,
}
