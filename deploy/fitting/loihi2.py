"""Does it fit on a Loihi 2: cores filled with programmable neurons and the weights that enter them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from deploy.fitting import placement as placing
from deploy.fitting.answer import Answer, Core, Reason
from deploy.fitting.chip import Chip
from deploy.fitting.demands import Group, groups, row, weights
from deploy.fitting.loads import Loads, Traffic
from deploy.fitting.measured import Measured
from deploy.fitting.placement import Placement
from spikestrip.operations import FixedOperation
from spikestrip.operations.fixed.rounding import HARDWARE_EXPONENTS
from spikestrip.program import Layer, Program

ASSUMPTIONS = (
    "a layer of neurons, an SSM's channel with all its modes, or a sum that several layers read, is one programmable "
    "neuron for each of its outputs; whether microcode and its program memory hold it isn't known",
    "fixed_s4d (--map stock) is graded neurons of re and im of each mode and of the input, a channel's on one core, "
    "which send in every step, to themselves too; streams that wait for others take nothing",
    "weights lie with the neurons that read them: whole matrices, and kernels written out for every place; none is "
    "shared or left out for being 0",
    "states and parameters are packed to the bit",
    "a spike or a value is one message to each core that reads it; values are sent in every step",
    "operations of a layer are spread evenly over its neurons",
)


def fit(program: Program, chip: Chip, measured: Measured | None) -> Answer:
    """Place ``program`` on ``chip`` in several ways and keep the best. Raises Refused for an unknown operation."""
    parts = groups(program, chip)
    traffic = Traffic(program, parts, measured)
    cost = placing.costs(parts, chip, [float(traffic.operations(group).mean()) for group in parts])
    limit = placing.limits(chip)
    usable = chip.number("cores_usable")
    at_least = placing.at_least(parts, cost, limit)
    at_least["weights_alone"] = _cores_of_weights(program, chip)
    found = placing.placements(parts, cost, limit, usable)
    loads = [traffic.loads(placement, measured is not None) for placement in found]
    ranked = sorted(zip(found, loads, strict=True), key=lambda pair: _rank(chip, usable, *pair))
    answer = Answer(
        chip,
        program.sha256,
        len(ranked[0][0].cores) if ranked else None,
        _reasons(program, chip, parts, cost, limit, ranked, at_least),
        _cores(parts, cost, limit, *ranked[0]) if ranked else [],
        [_row(chip, *pair) for pair in ranked],
        at_least,
        _unknown(program, chip, measured),
        [_widths(program, chip), *ASSUMPTIONS],
        measured=None if measured is None else measured.summary(),
        totals=_totals(parts, cost, ranked[0][1]) if ranked else {},
    )
    if measured is None:
        answer.notes.append("no run was given (--input or --trace): loads are those of a step in which all is active")
    return answer


def _cores_of_weights(program: Program, chip: Chip) -> int:
    bits = weights(program) * chip.number("weight_bits")
    return math.ceil(bits / 8 / chip.number("synaptic_memory_core"))


def _rank(chip: Chip, usable: int, placement: Placement, loads: Loads) -> tuple[float, ...]:
    """Those that fit first; then the shortest step where its terms are known, else fewest cores, then least loads."""
    seconds, largest = loads.seconds(chip), loads.largest()
    kind = "mean" if loads.measured else "max"
    order = [float(len(placement.cores) > usable)]
    if seconds is not None:
        order.append(seconds[kind])
    order.append(len(placement.cores))
    return (*order, *(largest[name][kind] for name in ("synaptic_operations", "messages_in", "messages_out")))


def _totals(parts: Sequence[Group], cost: np.ndarray, loads: Loads) -> dict[str, dict[str, float]]:
    """Of the best placement, all cores together: what is held, and what is done in a step."""
    held = np.array([group.neurons for group in parts]) @ cost
    names = [(name, float(held[placing.RESOURCES.index(name)])) for name in placing.RESOURCES[:-1]]
    done = loads.total()
    return {name: {"max": value} for name, value in names} | {
        "messages": done["messages_out"],
        "synaptic_operations": done["synaptic_operations"],
    }


def _row(chip: Chip, placement: Placement, loads: Loads) -> dict[str, Any]:
    return {
        "name": placement.name,
        "cores": len(placement.cores),
        "largest_core": loads.largest(),
        "step_seconds_at_least": loads.seconds(chip),
    }


def _cores(
    parts: Sequence[Group], cost: np.ndarray, limit: np.ndarray, placement: Placement, loads: Loads
) -> list[Core]:
    rows = {group.name: cost[index] for index, group in enumerate(parts)}
    cores = []
    for index, slices in enumerate(placement.cores):
        used = sum(((last - first) * rows[name] for name, (first, last) in slices.items()), np.zeros(len(limit)))
        pairs = zip(placing.RESOURCES, used, limit, strict=True)
        amounts = {name: (float(use), float(most)) for name, use, most in pairs if np.isfinite(most)}
        cores.append(Core(index, dict(slices), {**amounts}, loads.core(index)))
    return cores


def _reasons(
    program: Program,
    chip: Chip,
    parts: Sequence[Group],
    cost: np.ndarray,
    limit: np.ndarray,
    ranked: Sequence[tuple[Placement, Loads]],
    at_least: dict[str, int],
) -> list[Reason]:
    reasons = []
    for group, resource in placing.too_large(parts, cost, limit):
        index, r = list(parts).index(group), placing.RESOURCES.index(resource)
        reason = (
            f"one neuron of {group.name} takes {cost[index, r]:,.0f} of a core's {limit[r]:,.0f} ({_words(resource)})"
        )
        reasons.append(Reason("neuron_size", (group.name,), reason, "cut its inputs, or its modes"))
    usable = chip.number("cores_usable")
    if not ranked or len(ranked[0][0].cores) <= usable:
        return reasons
    needed = len(ranked[0][0].cores)
    resource = max((name for name in at_least if name != "weights_alone"), key=at_least.__getitem__)
    least = at_least[resource]
    proof = f"its {_words(resource)} alone needs {least}"
    if least <= usable:
        proof += ", so that a better placement might do: none was found"
    takes = np.array([group.neurons for group in parts]) * cost[:, placing.RESOURCES.index(resource)]
    largest = tuple(parts[index].name for index in np.argsort(-takes, kind="stable")[:3])
    reasons.append(
        Reason(
            "cores",
            largest,
            f"the best placement takes {needed} cores, and {usable} of {chip.number('cores_die')} are usable ({proof}; "
            f"most is in {', '.join(largest)})",
            f"it would on {math.ceil(needed / usable)} chips, or with {usable / least:.0%} of its {_words(resource)}",
        )
    )
    return reasons


def _words(resource: str) -> str:
    return {"synaptic_memory": "synaptic memory", "neuron_memory": "memory of states and parameters"}.get(
        resource, resource
    )


def _widths(program: Program, chip: Chip) -> str:
    integer = any(layer.operation.kind.startswith("fixed_") for layer in program.layers)
    words = f"weights of {chip.number('weight_bits')} bits and states of {chip.number('state_bits')}"
    return f"{words}, as the program says" if integer else f"{words}, as the float program would have once quantised"


def _exponents(layer: Layer) -> set[int]:
    """Of the words of an operation on integers."""
    if not isinstance(layer.operation, FixedOperation):
        return set()
    arrays = layer.operation.arrays().items()
    return {int(e) for name, array in arrays if name == "exponent" or name.endswith("_exp") for e in np.ravel(array)}


def _unknown(program: Program, chip: Chip, measured: Measured | None) -> list[str]:
    found = chip.unknown()
    for layer in program.layers:
        if row(layer).unknown:
            found.append(f"{layer.name}: {row(layer).unknown}")
    beyond = [layer.name for layer in program.layers if _exponents(layer) - set(HARDWARE_EXPONENTS)]
    if beyond:
        most = f"{HARDWARE_EXPONENTS[0]}..{HARDWARE_EXPONENTS[-1]}"
        found.append(f"exponents of words outside {most}, all that a chip is said to take: {', '.join(beyond)}")
    if measured is None:
        found.append("mean rates: no run was given")
    return found
