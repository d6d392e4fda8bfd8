"""What the cores of a placement do in a step: neurons, synaptic operations, messages; and the step's lower bound."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from deploy.fitting.chip import Chip
from deploy.fitting.demands import Bundle, Group
from deploy.fitting.measured import Measured
from deploy.fitting.placement import Placement, Slices
from spikestrip.program import Program

LOADS = ("neuron_updates", "synaptic_operations", "messages_in", "messages_out")


@dataclasses.dataclass(frozen=True)
class Loads:
    """by_core: load -> (cores, steps); where nothing was measured there is one step, in which everything is active."""

    by_core: dict[str, np.ndarray]
    measured: bool

    def _of(self, steps: np.ndarray) -> dict[str, float]:
        """Mean and maximum of (steps,); no mean where nothing was measured."""
        return {"max": float(steps.max())} | ({"mean": float(steps.mean())} if self.measured else {})

    def core(self, index: int) -> dict[str, dict[str, float]]:
        """Mean and maximum over steps of each load of one core."""
        return {name: self._of(values[index]) for name, values in self.by_core.items()}

    def total(self) -> dict[str, dict[str, float]]:
        """Of each load all cores of a step together."""
        return {name: self._of(values.sum(axis=0)) for name, values in self.by_core.items()}

    def largest(self) -> dict[str, dict[str, float]]:
        """Of each load the largest core of a step: its mean and maximum over steps; and the mean core's.

        ``core_mean``: over all cores and steps. What the largest has more than that, the others wait for.
        """
        return {
            name: self._of(values.max(axis=0)) | {"core_mean": float(values.mean())}
            for name, values in self.by_core.items()
        }

    def seconds(self, chip: Chip) -> dict[str, float] | None:
        """Lower bound of a step: the barrier, and the slowest load of all cores (form of arXiv 2601.10035).

        None where the chip's file has no value for a term.
        """
        terms = {name: limit.value for name, limit in chip.step_time.items()}
        if any(not isinstance(value, int | float) for value in terms.values()):
            return None
        messages = self.by_core["messages_in"] + self.by_core["messages_out"]
        slowest = np.max(
            [
                float(terms[name]) * values.max(axis=0)  # type: ignore[arg-type]  # no list: see above
                for name, values in (
                    ("neuron_update", self.by_core["neuron_updates"]),
                    ("synaptic_operation", self.by_core["synaptic_operations"]),
                    ("message", messages),
                )
            ],
            axis=0,
        )
        bound = float(terms["barrier"]) + slowest  # type: ignore[arg-type]  # no list: see above
        return self._of(bound)


class Traffic:
    """How much a part of a group sends and does in each step, measured, or at the most."""

    def __init__(self, program: Program, groups: Sequence[Group], measured: Measured | None) -> None:
        self.groups = {group.name: group for group in groups}
        self.output = program.output
        self.sizes = {name: int(np.prod(shape)) for name, shape in program.shapes.items()}
        self.bundles = dict.fromkeys(self.sizes, Bundle()) | {group.name: group.bundle for group in groups}
        self.steps = 1 if measured is None else measured.steps
        self._sums: dict[str, np.ndarray] = {}  # spikes of the neurons below n, (steps, N + 1)
        self._operations: dict[str, np.ndarray] = {}
        for group in groups:
            spikes = None if measured is None else measured.spikes(group.name)
            if spikes is not None:
                self._sums[group.name] = np.pad(np.cumsum(spikes, axis=1, dtype=np.int64), ((0, 0), (1, 0)))
            if measured is not None:
                by_weights = sum((measured.operations(name) for name in group.operations), np.zeros(self.steps))
                # what is read without weights is added once for each message; a bundle has weights for it
                for name in (source.name for source in group.sources if not source.weighted):
                    each = self.bundles[name].leaving / self.bundles[name].neurons * group.bundle.entering
                    by_weights = by_weights + each * self.sent(name, 0, self.sizes[name])
                self._operations[group.name] = by_weights / group.neurons + group.bundle.recurrent

    def sent(self, name: str, first: int, last: int) -> np.ndarray:
        """Messages of the neurons [first, last) in each step: spikes as they were, values always."""
        if name in self._sums:
            return self._sums[name][:, last] - self._sums[name][:, first]
        return np.full(self.steps, (last - first) * self.bundles[name].neurons)

    def operations(self, group: Group) -> np.ndarray:
        """Synaptic operations of one neuron, or bundle, in each step (the layer's, divided evenly)."""
        return self._operations.get(group.name, np.full(self.steps, float(group.synapses)))

    def loads(self, placement: Placement, measured: bool) -> Loads:
        """The loads of every core."""
        held: dict[str, int] = {}
        for slices in placement.cores:
            for name in slices:
                held[name] = held.get(name, 0) + 1
        copies = dict.fromkeys(self.sizes, 0)
        for group in self.groups.values():
            for source in group.sources:
                copies[source.name] += held[group.name] if source.spread else 1
        copies[self.output] += 1  # to the host
        found = {name: np.zeros((len(placement.cores), self.steps)) for name in LOADS}
        for index, slices in enumerate(placement.cores):
            for name, load in self._core(slices, copies).items():
                found[name][index] = load
        return Loads(found, measured)

    def _core(self, slices: Slices, copies: dict[str, int]) -> dict[str, np.ndarray]:
        load = {name: np.zeros(self.steps) for name in LOADS}
        for name, (first, last) in slices.items():
            group = self.groups[name]
            load["neuron_updates"] += (last - first) * group.bundle.neurons
            for direction in ("messages_in", "messages_out"):
                load[direction] += (last - first) * group.bundle.loop
            load["synaptic_operations"] += (last - first) * self.operations(group)
            load["messages_out"] += copies[name] * self.sent(name, first, last)
            for source in group.sources:
                size = self.sizes[source.name]
                part = (0, size) if source.spread else (first * size // group.neurons, last * size // group.neurons)
                load["messages_in"] += self.sent(source.name, *part)
        return load
