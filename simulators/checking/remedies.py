"""What would give a platform the reference's spikes: a changed file, tried on its rule before it is named."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import nir
import numpy as np

from convert.formats.nir.platforms.importers import IMPORTERS, Importer
from convert.formats.nir.reading.rules import Rules, leak
from simulators.checking.changes import Change
from simulators.checking.machine import Edit, Fired, Machine
from simulators.checking.platforms import Platform
from spikestrip.operations import LIF, Affine
from spikestrip.program import INPUT, Program

HOPELESS = {
    "reset": "no file can say another reset to it: take a platform that resets as you mean",
    "v_reset": "no file can say v_reset to it: take a platform that has it",
    "one gain": "multiply the weights into each neuron by its R*dt/tau and write R as tau/dt (not tried)",
    "several spikes": "keep u below twice the threshold by smaller inputs",
    "float32": "rounding alone: decisions this close to the threshold need float64",
}


def words(platform: Platform, reference: Rules, changes: Sequence[Change]) -> str:
    """What ``mended`` does about ``changes``, in words."""
    keys = {change.key for change in changes}
    machine = platform.machine(reference)
    said = []
    if "integration" in keys:
        said.append(f"write tau as -{machine.rules.dt:g}/ln(1 - {reference.dt:g}/tau)")
    elif "dt" in keys:
        said.append(f"multiply tau by {machine.rules.dt / reference.dt:g}")
    if "integration" in keys and platform.importer is None and platform.integrate == "impulse":
        said.append("multiply R by new tau/old tau")
    if keys & {"gain", "one gain"}:
        said.append("divide v_threshold by R*dt/tau" + ("" if "gain" in keys else " and write R as tau/dt"))
    if "R" in keys:
        said.append("divide v_threshold by R and write R as 1")
    if "comparison" in keys:
        said.append(f"raise v_threshold by one ulp of {machine.dtype}")
    if "delay" in keys:
        said.append(f"subtract the delay: one step for each {platform.late} on the way")
    return "; ".join(said)


def hopeless(causes: Sequence[Sequence[str]], left: Sequence[Change]) -> str:
    """Why no file was found: what can't be mended of the causes, and of the resets that are ``left`` to differ."""
    keys = {key for chosen in causes for key in chosen} | {one.key for one in left if one.key in ("reset", "v_reset")}
    return "; ".join(text for key, text in HOPELESS.items() if key in keys) or "no change of the file was found"


def mending(platform: Platform, reference: Rules) -> Edit:
    """The edit of a LIF after which ``platform`` computes what the reference does, as far as its rule allows.

    Decay a and input factor g of the reference are kept: tau' gives a back; where R can't give g back, the potential is
    measured in another unit, and with it threshold, leak and reset.
    """
    machine = platform.machine(reference)
    row = IMPORTERS[platform.importer] if platform.importer is not None else None
    method, dt = (row.integrate if row is not None else platform.integrate), machine.rules.dt

    def edit(node: nir.NIRNode) -> None:
        if not isinstance(node, nir.LIF):
            return
        ours = leak(node.tau, node.r, node.v_leak, "euler", reference.dt)
        with np.errstate(all="ignore"):  # a decay that exp() can't give becomes NaN, and the trial fails
            tau = np.asarray(node.tau, np.float64) * (dt / reference.dt)
            node.tau = tau if method == "euler" else -dt / np.log(ours.decay)
        one = np.ones_like(node.tau)
        plain = leak(node.tau, one, 0 * one, method, dt).gain
        r, unit = _r_and_unit(row, ours.gain, plain)
        node.r = r
        node.v_leak, node.v_reset = node.v_leak * unit, node.v_reset * unit
        node.v_threshold = np.asarray(node.v_threshold * unit, np.float64)
        if row is not None and row.compare == "ge":
            node.v_threshold = np.nextafter(node.v_threshold.astype(machine.dtype), np.array(np.inf, machine.dtype))

    return edit


def undelayed(platform: Platform, program: Program, reference: Fired, run: Fired) -> tuple[Fired, Fired]:
    """Both runs, over the steps that are left when each layer's delay on ``platform`` is taken off."""
    if platform.late is None:
        return reference, run
    kind = Affine if platform.late == "synapse" else LIF
    lag = {INPUT: 0}
    for layer in program.layers:
        lag[layer.name] = max(lag[source] for source in layer.inputs) + isinstance(layer.operation, kind)

    def cut(fired: Fired, late: bool) -> Fired:
        def of(name: str, train: np.ndarray) -> np.ndarray:
            return train[:, lag[name] :] if late else train[:, : train.shape[1] - lag[name]]

        output = None if fired.output is None else of(program.output, fired.output)
        return Fired({name: of(name, train) for name, train in fired.spikes.items()}, output, fired.dtype)

    return cut(reference, False), cut(run, True)


def mended(platform: Platform, reference: Rules) -> Machine:
    """The platform, given the mended file."""
    machine = platform.machine(reference)
    return dataclasses.replace(machine, edits=(mending(platform, reference),))


def _r_and_unit(row: Importer | None, gain: np.ndarray, plain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """R of the mended neuron, and the unit of its potential: ``gain`` is wanted, and R = 1 has ``plain``."""
    one = np.ones_like(plain)
    if row is None or (row.r == "folded" and np.unique(gain).size == 1):
        return gain / plain, one
    if row.r == "folded":
        return one / plain, one / gain
    return one, (one if row.unit_gain else plain) / gain
