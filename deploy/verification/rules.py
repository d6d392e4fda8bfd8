"""The error that every operation passes on and adds: what the running bound (``bounds``) is made of.

First order; docs/verify.md has the derivation.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from spikestrip.operations import (
    GLU,
    LIF,
    OPERATIONS,
    S4D,
    AdaptiveLIF,
    Affine,
    AvgPool2d,
    Bernoulli,
    Conv1d,
    Conv2d,
    Delay,
    FixedOperation,
    LayerNorm,
    LeakyIntegrator,
    MaxPool2d,
    MultiSpikeIF,
    MultiSpikeLIF,
    Operation,
    RefractoryLIF,
    Scale,
    State,
)  # fmt: skip


@dataclasses.dataclass
class Context:
    """What a rule sees of one step of one layer; of an operation without state, of all steps of a piece as rows.

    e, x: (B, *shape) error and value of what enters; y: its output, or u' if it spikes; fired: the recorded spikes;
    before, after: the states of the replay; memory: the errors of the states, which the rule carries on; norm: of all
    that enters, (B, *shape), over the whole sequence, for FFTs; steps: of the sequence.
    """

    e: np.ndarray
    x: np.ndarray
    y: np.ndarray
    fired: np.ndarray | None
    before: State
    after: State
    memory: dict[str, Any]
    unit: float
    parallel: bool
    norm: np.ndarray | None
    steps: int

    def fresh(self, magnitude: np.ndarray, moved: np.ndarray) -> np.ndarray:
        """Rounding of elementwise operations: none in a run step by step whose operands have no error yet."""
        return self.unit * (magnitude if self.parallel else magnitude * (moved > 0))


def _affine(op: Affine, c: Context) -> np.ndarray:
    weight = np.abs(op.weight.astype(np.float64)).T
    bias = 0.0 if op.bias is None else np.abs(op.bias)
    terms = (c.x != 0).astype(np.float64) @ (weight != 0)
    size = np.abs(c.x) @ weight + bias
    rounds = ~_whole(c, size, weight, bias)
    if c.parallel:  # a norm that was folded into the weights is computed apart
        return np.asarray(c.e @ weight + (terms + 9) * c.unit * size) * rounds
    # one product rounds in one way; with a bias it may be fused, which matters unless the product is exact
    binary = ((c.x == 0) | (c.x == 1)).all(axis=-1, keepdims=True)
    alone = (terms <= 1) & (binary | (op.bias is None))
    received = c.e @ weight
    return np.asarray(received + (terms + 1) * c.unit * size * (~alone | (received > 0))) * rounds


def _linear(op: Any, c: Context) -> np.ndarray:
    """A convolution or a pooling: the same operation on absolute weights carries magnitudes and errors."""
    counted = op
    if isinstance(op, Conv1d | Conv2d):
        counted = dataclasses.replace(op, weight=(op.weight != 0).astype(np.float64), bias=None)
        op = dataclasses.replace(
            op, weight=np.abs(op.weight.astype(np.float64)), bias=None if op.bias is None else np.abs(op.bias)
        )
    unbiased = dataclasses.replace(op, bias=None) if isinstance(op, Conv1d | Conv2d) else op
    received = unbiased.step(np, {}, c.e)[1]
    terms = counted.step(np, {}, (c.x != 0).astype(np.float64))[1]
    if not isinstance(op, Conv1d | Conv2d):
        terms = np.full_like(terms, op.kernel_y * op.kernel_x)
    size = op.step(np, {}, np.abs(c.x))[1]
    error = np.asarray(received + (terms + 2) * c.unit * size)
    return error if type(op) is AvgPool2d else error * ~_whole(c, size, *op.arrays().values())


def _whole(c: Context, size: np.ndarray, *arrays: np.ndarray | float) -> np.ndarray:
    """Where a row's sums don't round, in whatever order: whole numbers whose magnitudes add up to what the dtype holds.

    Booleans, (rows, 1, ...).
    """
    parameters = all(bool((array == np.floor(array)).all()) for array in map(np.asarray, arrays))
    exact = [np.all(held.reshape(len(c.x), -1), axis=1) for held in (c.e == 0, size * c.unit < 1, c.x == np.floor(c.x))]
    return (parameters & exact[0] & exact[1] & exact[2]).reshape(-1, *(1,) * (size.ndim - 1))


def _delay(op: Delay, c: Context) -> np.ndarray:
    state = c.memory or {name: np.zeros_like(value) for name, value in c.before.items()}
    state, e = op.step(np, state, c.e)
    c.memory.update(state)
    return np.asarray(e)


def _scale(op: Scale, c: Context) -> np.ndarray:
    return np.asarray(np.abs(op.scale) * (c.e + c.fresh(2 * np.abs(c.x), c.e)))


def _clamp(op: Any, c: Context) -> np.ndarray:
    bound = max(abs(op.low or 0), abs(op.high or 0))
    return c.e + c.fresh(np.full_like(c.x, bound), c.e)


def _max_pool(op: MaxPool2d, c: Context) -> np.ndarray:
    # the largest of values that are off by e each is off by the largest e at most
    return np.asarray(op.step(np, {}, c.e)[1])


def _glu(op: GLU, c: Context) -> np.ndarray:
    half = c.x.shape[-1] // 2
    value = np.abs(c.x[..., :half])
    # sigmoid' <= 1/4; 8 covers exp, sum, quotient and product
    return np.asarray(c.e[..., :half] + value * (c.e[..., half:] / 4 + 8 * c.unit))


def _gelu(op: Operation, c: Context) -> np.ndarray:
    # |GELU'| <= 1.13; two polynomials of degree 12 without cancellation, 24 roundings each, and a dozen more
    return 1.13 * c.e + c.fresh(40 * np.abs(c.x), c.e)


def _bernoulli(op: Bernoulli, c: Context) -> np.ndarray:
    """Of p - r: a clamp adds no error, and r is exact."""
    a, b = np.abs(op.a), np.abs(op.b)
    return np.asarray(a * c.e + c.fresh(3 * (a * np.abs(c.x) + b + 1), c.e))


def _layer_norm(op: LayerNorm, c: Context) -> np.ndarray:
    size = c.x.shape[1]
    deviation = np.sqrt(c.x.var(axis=1, keepdims=True) + op.eps)
    weight, bias = np.abs(op.weight), np.abs(op.bias)
    # the Jacobian is a projection over the deviation: at most 1/deviation in the 2-norm, also where the error led
    rounded = np.linalg.norm(c.e, axis=1, keepdims=True) + (math.log2(size + 1) + 9) * c.unit * np.abs(c.x).max(
        axis=1, keepdims=True
    ) * (size if c.parallel else 1)
    deviation = np.maximum(deviation - rounded / math.sqrt(size), math.sqrt(op.eps))
    return np.asarray(weight / deviation * rounded + (size + 8) * c.unit * (np.abs(c.y) + 2 * bias))


def _s4d(op: S4D, c: Context) -> np.ndarray:
    a, b, readout = (np.hypot(re, im) for re, im in ((op.a_re, op.a_im), (op.b_re, op.b_im), (op.c_re, op.c_im)))
    x, e = np.abs(c.x), c.e
    received = c.memory.get("h", np.zeros_like(c.before["re"])) * a + b * e[:, None]
    # each step rounds three products, two sums and, where the dtypes are not the same, three constants
    size = a * np.hypot(c.before["re"], c.before["im"]) + b * x[:, None]
    error = c.memory["h"] = received + c.fresh(6 * size, received)
    levels = math.ceil(math.log2(max(a.shape[0], 2)))
    read = (2 * readout * error).sum(axis=1) + np.abs(op.d) * e
    size = (levels + 5) * (2 * readout * np.hypot(c.after["re"], c.after["im"])).sum(axis=1) + 4 * np.abs(op.d) * x
    return np.asarray(read + c.fresh(size, read) + fft_error(op, c.memory, c.unit, c.norm, c.steps))


def fft_error(op: S4D, memory: dict[str, Any], unit: float, norm: np.ndarray | None, steps: int) -> np.ndarray | float:
    """Of a convolution by FFT, (B, H), given the root of the squares that enter it; 0 where there is none.

    Percival 2003, theorem 5.1, to first order: unit*(3n + sqrt5*(3n+1) + 3n)*|K|*|x|; and K, x rounded once.
    """
    if norm is None:
        return 0.0
    n = math.ceil(math.log2(2 * steps)) + 1
    if "kernel" not in memory:
        memory["kernel"] = _kernel_norm(op, steps)
    return np.asarray((6 * n + math.sqrt(5) * (3 * n + 1) + 2) * unit * memory["kernel"] * norm)


def _kernel_norm(op: S4D, steps: int) -> np.ndarray:
    """(H,): root of the sum of K^2 over the steps, D in its first."""
    a, power = op.a_re + 1j * op.a_im, (op.b_re + 1j * op.b_im) * (op.c_re + 1j * op.c_im)
    squares = np.zeros(a.shape[1])
    for step in range(steps):
        k = 2 * power.real.sum(axis=0) + (op.d if step == 0 else 0)
        squares += k * k
        power = power * a
    return np.sqrt(squares)


def _integrated(op: LIF | LeakyIntegrator | MultiSpikeLIF, c: Context) -> np.ndarray:
    gain = 1.0 if op.gain is None else np.abs(op.gain)
    bias = 0.0 if isinstance(op, MultiSpikeLIF) or op.bias is None else np.abs(op.bias)
    received = np.abs(op.decay) * c.memory.get("u", 0.0) + gain * c.e
    size = np.abs(op.decay * c.before["u"]) + gain * np.abs(c.x) + bias
    return np.asarray(received + c.fresh(4 * size, received))


def _li(op: LeakyIntegrator, c: Context) -> np.ndarray:
    error = c.memory["u"] = _integrated(op, c)
    return error


def _several(op: MultiSpikeIF, c: Context) -> np.ndarray:
    """Of u' where numbers of spikes were recorded; else of the number: 0 where u' lies further from the next number's
    edge than rounding goes."""
    potential = op.integrate(np, c.before, c.x)
    if isinstance(op, MultiSpikeLIF):
        error = _integrated(op, c)
    else:
        received = c.memory.get("u", np.zeros_like(c.e)) + c.e
        error = received + c.fresh(4 * np.abs(potential), received)
    if c.fired is not None:
        c.memory["u"] = error + c.fresh(4 * np.abs(potential), error)
        return error
    ratio = potential / op.threshold
    edge = np.abs(ratio - np.rint(ratio)) * op.threshold  # below 0 no spike is sent, whatever the edge
    unsure = (error > 0) & (edge <= error) & (potential > -error)
    wrong = np.where(unsure, 1 + np.floor(error / op.threshold), 0.0)
    c.memory["u"] = error + op.threshold * wrong + c.fresh(4 * np.abs(potential), error)
    return wrong


def _lif(op: LIF, c: Context) -> np.ndarray:
    error = _integrated(op, c)
    if op.reset_kind == "hard":  # where it fired, v_reset is what is left, exactly
        c.memory["u"] = error * (c.fired == 0)
    else:
        c.memory["u"] = error + c.fresh(2 * (np.abs(c.after["u"]) + np.abs(op.threshold)), error)
    return error + _threshold(op, c)


def _threshold(op: Any, c: Context) -> np.ndarray | float:
    """A trained threshold is an exp in a parallel form."""
    return 4 * c.unit * np.abs(op.threshold) if c.parallel else 0.0


def _refractory(op: RefractoryLIF, c: Context) -> np.ndarray:
    inhibited = np.abs(op.inhibition) * c.before["r"]
    if c.parallel:
        c.memory["r"] = np.abs(op.decay_r) * c.memory.get("r", 0.0) + 3 * c.unit * c.after["r"]
        inhibition = np.abs(op.inhibition) * c.memory.get("r before", 0.0)
        c.memory["r before"] = c.memory["r"]
    else:
        inhibition = np.zeros_like(c.e)  # R follows the recorded spikes, element by element
    received = np.abs(op.decay) * c.memory.get("u", 0.0) + c.e + inhibition
    error = received + c.fresh(4 * (np.abs(op.decay * c.before["u"]) + np.abs(c.x) + inhibited), received)
    c.memory["u"] = error + c.fresh(2 * (np.abs(c.after["u"]) + np.abs(op.threshold)), error) if op.soft else error
    return np.asarray(error + _threshold(op, c))


def _adaptive(op: AdaptiveLIF, c: Context) -> np.ndarray:
    """Of u' - theta: theta follows the recorded spikes, element by element."""
    theta = np.abs(op.threshold) + np.abs(op.beta) * np.abs(c.before["a"])
    received = np.abs(op.decay) * c.memory.get("u", 0.0) + c.e
    error = received + c.fresh(4 * (np.abs(op.decay * c.before["u"]) + np.abs(c.x)), received)
    c.memory["u"] = error + c.fresh(2 * (np.abs(c.after["u"]) + theta), error)
    return np.asarray(error + c.fresh(2 * theta, error))


def _integers(op: FixedOperation, c: Context) -> np.ndarray:
    """Whole numbers don't round; where something rounded on the way to them, a floor moves, by who knows how much."""
    moved = (c.e > 0).reshape(len(c.e), -1).any(axis=1)
    return np.where(moved, np.inf, 0.0).reshape(-1, *(1,) * (c.y.ndim - 1)) + np.zeros_like(c.y)


RULES: dict[str, Callable[..., Any]] = {
    "affine": _affine,
    "scale": _scale,
    "join": lambda op, c: c.e,
    "delay": _delay,
    "flatten": lambda op, c: op.step(np, {}, c.e)[1],
    "conv1d": _linear,
    "conv2d": _linear,
    "sum_pool2d": _linear,
    "avg_pool2d": _linear,
    "max_pool2d": _max_pool,
    "reshape": lambda op, c: op.step(np, {}, c.e)[1],
    "pad": lambda op, c: op.step(np, {}, c.e)[1],
    "threshold": lambda op, c: c.e + _threshold(op, c),
    "clamp": _clamp,
    "glu": _glu,
    "gelu": _gelu,
    "layer_norm": _layer_norm,
    "s4d": _s4d,
    "li": _li,
    "lif": _lif,
    "lif_refractory": _refractory,
    "lif_adaptive": _adaptive,
    "if_several": _several,
    "lif_several": _several,
    "bernoulli": _bernoulli,
    **{kind: _integers for kind, each in OPERATIONS.items() if issubclass(each, FixedOperation)},
}

REMEMBERING = {"s4d", "delay", "li", "lif", "lif_refractory", "lif_adaptive", "if_several", "lif_several"}
"""The kinds whose rule carries errors from step to step; the others see all steps of a piece as so many rows."""
