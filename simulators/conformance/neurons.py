"""Cases of neurons alone, in every situation that decides whether they fire."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from simulators.backends import Dtype
from simulators.conformance.case import Case
from spikestrip.operations import (
    LIF,
    AdaptiveLIF,
    Operation,
    RefractoryLIF,
)
from spikestrip.program import chain

DECAYS = (0.0, 0.125, 0.5, 0.9, 0.3)
THRESHOLDS = (1.0, 0.7, 1.0, 0.25, 1.3)


def neurons(dtype: Dtype) -> Iterator[Case]:
    """Every neuron in every situation."""
    for name, make in _NEURONS.items():
        for situation, (decays, thresholds, x) in _situations(dtype, undamped=name == "integrate_and_fire").items():
            program = chain((len(decays),), [("n00_spike", make(decays, thresholds))])
            yield Case(name, situation, dtype, program, x, faulty=situation in ("nan", "overflow"))


def _hard(decays: np.ndarray, thresholds: np.ndarray) -> Operation:
    return LIF(decays, thresholds)


def _soft(decays: np.ndarray, thresholds: np.ndarray) -> Operation:
    return LIF(decays, thresholds, reset_kind="soft")


def _refractory(decays: np.ndarray, thresholds: np.ndarray, soft: bool = True) -> Operation:
    decay_r, inhibition = (np.resize(values, decays.size) for values in ([0.5, 0.9], [1.0, 0.3]))
    return RefractoryLIF(decays, thresholds, decay_r, inhibition, soft)


def _refractory_only(decays: np.ndarray, thresholds: np.ndarray) -> Operation:
    return _refractory(decays, thresholds, soft=False)


def _adaptive(decays: np.ndarray, thresholds: np.ndarray) -> Operation:
    decay_a, beta = (np.resize(values, decays.size) for values in ([0.5, 0.9], [1.0, 0.25]))
    return AdaptiveLIF(decays, thresholds, decay_a, beta)


_NEURONS: dict[str, Callable[[np.ndarray, np.ndarray], Operation]] = {
    "lif_hard": _hard,
    "lif_soft": _soft,
    "integrate_and_fire": _hard,
    "lif_refractory": _refractory,
    "lif_refractory_no_reset": _refractory_only,
    "lif_adaptive": _adaptive,
}


def _situations(dtype: Dtype, undamped: bool) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Situation -> decays (N,), thresholds (N,), input (B, T, N). ``undamped``: all decays are 1."""
    rng = np.random.default_rng(20)
    kind = np.dtype(dtype).type
    decays = np.ones(5) if undamped else np.array(DECAYS)
    thresholds = np.array(THRESHOLDS)
    above, below = kind(np.inf), kind(-np.inf)
    level = thresholds.astype(kind)
    limit = ((1 - decays) * thresholds).astype(kind)  # held for ever, it takes the potential to the threshold
    constants = np.stack([level, np.nextafter(level, below), limit, np.nextafter(limit, above), level / 3])
    dyadic = np.ones(5) if undamped else np.array([0.0, 0.5, 0.25, 0.5, 0.125])
    slow = np.ones(5) if undamped else 1 - 2.0 ** -np.array([6, 10, 16, 20, 22])
    tiny = np.finfo(dtype).smallest_subnormal
    burst = rng.uniform(5, 50, (2, 21, 5))
    burst[:, 7:] = 0  # what a soft reset left goes on firing
    poisoned = rng.normal(size=(2, 9, 5))
    poisoned[1, 4, 2] = np.nan
    drawn: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {
        "constants": (decays, thresholds, np.repeat(constants[:, None], 40, axis=1)),
        "ties": (dyadic, np.array([1.0, 1.0, 0.5, 0.25, 1.0]), rng.integers(-3, 9, (8, 6, 5)) / 4),
        "silence": (decays, thresholds, np.stack([np.zeros((7, 5)), np.full((7, 5), -1.0)])),
        "saturation": (decays, thresholds, burst),
        "noise": (decays, thresholds, rng.normal(size=(4, 101, 5))),
        "one_step": (decays, thresholds, rng.normal(size=(1, 1, 5))),
        "one_neuron": (decays[:1], thresholds[:1], rng.normal(size=(3, 8, 1))),
        "large_batch": (decays, thresholds, rng.normal(size=(64, 3, 5))),
        "long_decay": (slow, thresholds, rng.uniform(0, 0.02, (1, 300, 5))),
        "subnormal": (dyadic, np.full(5, 8 * tiny), tiny * rng.integers(0, 9, (2, 9, 5))),
        "nan": (decays, thresholds, poisoned),
        "overflow": (decays, thresholds, np.full((1, 6, 5), np.finfo(dtype).max) * np.array([1, -1])[:, None, None]),
    }
    return {name: (decays, thresholds, x.astype(dtype)) for name, (decays, thresholds, x) in drawn.items()}


def variants(dtype: Dtype) -> Iterator[Case]:
    """What graphs of others bring: gain, bias, another reset value, another comparison."""
    for situation in ("ties", "noise"):
        decays, thresholds, x = _situations(dtype, undamped=False)[situation]
        half = np.full(5, 0.5)
        variants = {
            "lif_gain": LIF(decays, thresholds, gain=half),
            "lif_bias": LIF(decays, thresholds, bias=half / 2),
            "lif_reset_value": LIF(decays, thresholds, v_reset=-half),
            "lif_above": LIF(decays, thresholds, comparison="gt"),
            "lif_soft_above": LIF(decays, thresholds, reset_kind="soft", comparison="gt"),
        }
        for name, neuron in variants.items():
            yield Case(name, situation, dtype, chain((5,), [("n00_spike", neuron)]), x)
