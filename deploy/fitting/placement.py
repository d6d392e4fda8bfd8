"""Neurons onto cores: filled in order, under limits; even placements are the same with the least limits that do."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from deploy.fitting.chip import Chip
from deploy.fitting.demands import Group

RESOURCES = ("neurons", "synaptic_memory", "neuron_memory", "operations")
"""Of a core: neurons, memory of weights and of states and parameters (bytes), synaptic operations of a step."""
HALVINGS = 30

Slices = dict[str, tuple[int, int]]


@dataclasses.dataclass(frozen=True)
class Placement:
    """A way to place all groups. cores: for each core, group -> its neurons [first, last + 1)."""

    name: str
    cores: tuple[Slices, ...]


def costs(groups: Sequence[Group], chip: Chip, operations: Sequence[float]) -> np.ndarray:
    """What one neuron, or bundle, of each group takes of each resource, (groups, resources)."""
    weight = chip.number("weight_bits") / 8
    rows = [
        (group.bundle.neurons, group.synapses * weight, group.bits / 8, done)
        for group, done in zip(groups, operations, strict=True)
    ]
    return np.array(rows, float).reshape(-1, len(RESOURCES))


def limits(chip: Chip) -> np.ndarray:
    """What a core has of each resource; of synaptic operations it may do any number."""
    names = ("neurons_core", "synaptic_memory_core", "neuron_memory_core")
    return np.array([*(chip.number(name) for name in names), np.inf])


def too_large(groups: Sequence[Group], cost: np.ndarray, limit: np.ndarray) -> list[tuple[Group, str]]:
    """The groups of which a single neuron is more than a core, and by which resource."""
    return [
        (group, RESOURCES[int(np.argmax(row > limit))])
        for group, row in zip(groups, cost, strict=True)
        if (row > limit).any()
    ]


def at_least(groups: Sequence[Group], cost: np.ndarray, limit: np.ndarray) -> dict[str, int]:
    """Cores that each resource alone needs, however the neurons are placed."""
    total = np.array([group.neurons for group in groups]) @ cost
    return {name: int(np.ceil(total[r] / limit[r] - 1e-9)) for r, name in enumerate(RESOURCES) if np.isfinite(limit[r])}


def fill(groups: Sequence[Group], cost: np.ndarray, limit: np.ndarray) -> tuple[Slices, ...] | None:
    """Core after core, each filled to its limits, layers in order; None where a single neuron is too much."""
    cores: list[Slices] = [{}]
    left = limit.astype(float)
    for group, row in zip(groups, cost, strict=True):
        done = 0
        while done < group.neurons:
            used = row > 0
            room = int(np.floor((left[used] / row[used]).min() + 1e-9))
            taken = min(room, group.neurons - done)
            if taken:
                cores[-1][group.name] = (done, done + taken)
                done, left = done + taken, left - taken * row
            elif cores[-1]:
                cores.append({})
                left = limit.astype(float)
            else:
                return None
    return tuple(cores)


def placements(groups: Sequence[Group], cost: np.ndarray, limit: np.ndarray, usable: int) -> list[Placement]:
    """Those that are compared; none where a single neuron is too much for a core.

    packed: as few cores as filling in order gives. mixed: the same share of every layer on every core, on as few as do:
    layers that need another memory lie side by side. even memory, even traffic: on no more cores than that, with the
    least share of each core's memory, and the fewest synaptic operations on a core. spread: the
    fewest synaptic operations on any number of usable cores.
    """
    packed = fill(groups, cost, limit)
    if packed is None:
        return []
    found = [Placement("packed", packed)]
    mixed = _mixed(groups, cost, limit, len(packed))
    if mixed is not None:
        found.append(Placement("mixed", mixed))

    def memory(share: float) -> np.ndarray:
        return limit * share

    def traffic(share: float) -> np.ndarray:
        return np.array([*limit[:-1], share * float(np.array([group.neurons for group in groups]) @ cost[:, -1])])

    for name, scaled, most in (
        ("even memory", memory, len(packed)),
        ("even traffic", traffic, len(packed)),
        ("spread", traffic, max(usable, len(packed))),
    ):
        found.append(Placement(name, _least(groups, cost, scaled, most, packed)))
    return found


def _mixed(groups: Sequence[Group], cost: np.ndarray, limit: np.ndarray, most: int) -> tuple[Slices, ...] | None:
    """The same share of every group on each of the fewest cores that hold it; None where ``most`` aren't enough."""
    neurons = np.array([group.neurons for group in groups])
    for cores in range(max(at_least(groups, cost, limit).values()), most + 1):
        if (-(-neurons // cores) @ cost <= limit).all():
            cuts = {group.name: [index * group.neurons // cores for index in range(cores + 1)] for group in groups}
            return tuple(
                {name: (cut[core], cut[core + 1]) for name, cut in cuts.items() if cut[core] < cut[core + 1]}
                for core in range(cores)
            )
    return None


def _least(
    groups: Sequence[Group],
    cost: np.ndarray,
    scaled: Callable[[float], np.ndarray],
    most: int,
    packed: tuple[Slices, ...],
) -> tuple[Slices, ...]:
    """The filling under the least share of limits that takes ``most`` cores or fewer."""
    low, high, best = 0.0, 1.0, packed
    for _ in range(HALVINGS):
        share = (low + high) / 2
        cores = fill(groups, cost, scaled(share))
        if cores is None or len(cores) > most:
            low = share
        else:
            high, best = share, cores
    return best
