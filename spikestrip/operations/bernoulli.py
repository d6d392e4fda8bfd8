"""The stochastic neuron: it fires with a probability, by draws that every backend makes alike."""

from __future__ import annotations

import dataclasses
from types import ModuleType
from typing import ClassVar, Self

import numpy as np

from spikestrip.draws import BITS, draw
from spikestrip.errors import BadInput
from spikestrip.operations.base import Array, Shape, SpikingOperation, State

LAP = 1 << 20
"""Steps after which a counter begins anew: float32 holds every integer below 2^24."""


@dataclasses.dataclass(eq=False)
class Bernoulli(SpikingOperation):
    """Stochastic neuron of P-SpikeSSM (Bal and Sengupta, ICLR 2025): it has no memory, and fires with probability p.

    p = clamp(a*z + b, 0, 1);  s = (r < p)

    r is uniform on the multiples of 2^-24 in [0, 1), from the counter-based stream of spikestrip.draws under
    (seed, layer, sample, step, neuron). What ``integrate`` gives is p - r: IEEE subtraction has the right sign, so
    p - r > 0 is exactly r < p, and |p - r| says how far the decision was from the other one.

    a, b: (H,) float32. seed: 0 .. 2^63 - 1; layer: the number under which it draws, which no other of the network has.
    Row i of a batch is sample first_sample + i (``spikestrip.program.at_sample``).

    States, which count the same in all elements: ``step`` (mod 2^20) and ``lap`` (how often that went round); exact in
    float32, so that a stream can run for ever: its draws repeat after 2^34 steps. An input that is not finite makes
    ``step`` NaN: it must not pass for silence.
    """

    kind: ClassVar[str] = "bernoulli"
    a: np.ndarray
    b: np.ndarray
    seed: int = 0
    layer: int = 0
    first_sample: int = 0

    def __post_init__(self) -> None:
        for name, bits in (("seed", 63), ("layer", 32), ("first_sample", 32)):
            if not 0 <= getattr(self, name) < 1 << bits:
                raise BadInput(self.kind, f"{name} is {getattr(self, name)}, not in 0 .. 2^{bits} - 1")

    def at_sample(self, first: int) -> Self:
        return dataclasses.replace(self, first_sample=self.first_sample + first) if first else self

    def drawn_from(self) -> int | None:
        return self.seed

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 1:
            raise BadInput(self.kind, f"takes inputs of one axis (neurons are numbered along it), not {shape}")
        self._fit(shape, self.a.shape)
        self._fit(shape, self.b.shape)
        return shape

    def state_shapes(self, shape: Shape) -> dict[str, Shape]:
        return {"step": shape, "lap": shape}

    def integrate(self, xp: ModuleType, state: State, x: Array) -> Array:
        drive = self.a * x + self.b
        p = xp.clip(drive, 0, 1) + 0 * drive  # NaN where the drive is infinite, too: an overflow is no probability
        return p - xp.astype(self._draws(xp, state), x.dtype) * 2.0**-BITS

    def excess(self, xp: ModuleType, state: State, potential: Array) -> Array:
        return potential

    def fire(self, state: State, potential: Array) -> Array:
        return potential > 0

    def reset(self, xp: ModuleType, state: State, potential: Array, spikes: Array) -> State:
        step = state["step"] + 1 + 0 * potential
        over = xp.astype(step >= LAP, step.dtype)
        return {"step": step - LAP * over, "lap": state["lap"] + over}

    def count(self, x: np.ndarray, binary: bool) -> dict[str, np.ndarray | int]:
        # a*z; the generator is the machine's own business, and its counter is no state of a neuron
        return {"state_macs": self.a.size}

    def _draws(self, xp: ModuleType, state: State) -> Array:
        """r * 2^24 of every sample and neuron, (B, H) int64."""
        step = xp.astype(state["step"], xp.int64) + LAP * xp.astype(state["lap"], xp.int64)
        one = 0 * step + 1
        sample = xp.cumulative_sum(one, axis=0) + (self.first_sample - 1)
        neuron = xp.cumulative_sum(one, axis=1) - 1
        return draw(xp, self.seed, self.layer, sample, step, neuron)
