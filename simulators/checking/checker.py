"""The check itself: every platform on one graph and one input, each difference explained by trying rules."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import nir
import numpy as np

from convert.formats.nir.platforms.dialects import DIALECTS
from convert.formats.nir.platforms.dialects import graph as dialect_graph
from convert.formats.nir.reading import Rules, canonical, standard
from convert.formats.nir.reading.loading import Loaded, load
from convert.formats.nir.reading.structure import flatten
from simulators.checking import remedies
from simulators.checking.changes import Change, apply, departures, explain, rules_alone
from simulators.checking.machine import Fired, Machine, fire
from simulators.checking.platforms import PAPER, PLATFORMS, Platform
from simulators.checking.report import Report, Row
from spikestrip import inputs
from spikestrip.errors import BadInput
from spikestrip.operations import LIF
from spikestrip.program import Program

STEPS, RATE = 200, 0.3
NEARLY = 10  # a remedy that leaves more than a tenth of the differences is none


def check(
    path: str | os.PathLike[str],
    source: str | os.PathLike[str] | np.ndarray | None = None,
    dt: float | None = None,
    reset: str | None = None,
    event_step: int | None = None,
) -> Report:
    """Run the NIR file ``path`` on an input, an array or the .npy file ``source``, under every platform's rule.

    event_step: of a ``source`` that holds events (``spikestrip.events``).

    Without ``source``: Bernoulli spikes, rate 0.3, 200 steps, seed 0. dt: seconds of a step; by default what the
    file's metadata say or 1e-4, and 1 for our own canonical files. Raises BadInput where the reference,
    NIR as written, can't be run.
    """
    loaded = load(path)
    ours = loaded.graph.metadata.get("spikestrip") == "canonical"
    rules = Rules(reset=reset)  # type: ignore[arg-type]
    if dt is not None or ours:
        rules = dataclasses.replace(rules, dt=1.0 if dt is None else dt)
    try:
        if not ours:
            rules = dataclasses.replace(rules, dt=standard.step(loaded, rules))
        return _Checker(loaded, rules, source, ours, event_step).report()
    except BadInput as error:
        if error.where in ("--dt", "--reset", "--event-step") or error.where == _named(source):
            raise
        raise BadInput(loaded.source, f"node {error.where}: {error.reason}") from error


class _Checker:
    def __init__(
        self,
        loaded: Loaded,
        rules: Rules,
        source: str | os.PathLike[str] | np.ndarray | None,
        ours: bool,
        event_step: int | None,
    ) -> None:
        self.whole = canonical.program(loaded.graph) if ours else None
        self.original = loaded
        self.loaded = dataclasses.replace(loaded, graph=_standard(loaded.graph)) if ours else loaded
        self.flat, *_ = flatten(self.loaded.graph)
        self.rules = rules
        self.runs: dict[tuple[str, str], Fired] = {}
        self.answers: list[Fired] = []
        self.reference = Machine(rules)
        try:
            self.program = self.reference.program(self.loaded)
        except BadInput:
            if self.whole is None:
                raise
            self.program = self.whole  # its standard nodes hold NaN where NIR can't say the operation
        self.spiking = tuple(layer.name for layer in self.program.spiking)
        self.resets = {layer.operation.reset_kind for layer in self.program.layers if isinstance(layer.operation, LIF)}
        shape = self.program.input_shape
        if isinstance(source, np.ndarray):
            self.x = inputs.expand(inputs.check(source, shape, "the input"), shape)
        elif source is None:
            self.x = (np.random.default_rng(0).random((1, STEPS, *shape)) < RATE).astype(np.float32)
        else:
            self.x = inputs.expand(inputs.read(source, shape, event_step), shape)
        self.source = source
        self.right = self.run(self.reference, self.program)
        self.letter(self.right)

    def run(self, machine: Machine, program: Program | None = None) -> Fired:
        """What ``machine`` fires; equal programs run once."""
        program = program or machine.program(self.loaded)
        if program.input_shape != self.program.input_shape:  # standard nodes of ours (1, H), where the reference isn't
            raise BadInput("input", f"has shape {program.input_shape}, and {self.program.input_shape} is compared")
        key = (program.sha256, machine.dtype)
        if key not in self.runs:
            self.runs[key] = fire(program, self.x, machine.dtype, self.spiking)
        return self.runs[key]

    def letter(self, fired: Fired) -> str:
        for number, other in enumerate(self.answers):
            if fired.same(other):
                return chr(ord("A") + number)
        self.answers.append(fired)
        return chr(ord("A") + len(self.answers) - 1)

    def report(self) -> Report:
        batch, steps = self.x.shape[:2]
        header = {
            "file": str(self.loaded.source),
            "nir": self.loaded.version,
            "nodes": len(self.program.layers),
            "input": "Bernoulli spikes, rate 0.3, seed 0" if self.source is None else _named(self.source),
            "samples": batch,
            "steps": steps,
            "dt": self.rules.dt,
            "reset": " and ".join(sorted(self.resets)) or "none",
            "spikes": self.right.count,
        }
        rows = sorted((self.platform(platform) for platform in PLATFORMS), key=lambda row: row.answer or "~")
        alone = [self.compared(Row(change.text, "", "same"), run) for change, run in self.alone()]
        return Report(header, rows, alone, self.notes(rows))

    def notes(self, rows: Sequence[Row]) -> list[str]:
        notes = [] if self.program is self.whole else list(standard.program(self.loaded, self.rules)[1])
        if self.spiking and not self.right.count:
            notes.append("the reference never fires: this input tells little; give one with --input")
        if not self.spiking:
            notes.append("no node of this graph fires: its outputs are compared")
        if self.program is self.whole:
            notes.append("holds operations that no standard node can say; the reference is read from their metadata")
        if any(row.source == PAPER and row.answer for row in rows):
            notes.append(
                "a trace: the rule is read from one neuron's trace, published with the NIR paper, which shows update "
                "and delay and no more; comparison and reset are taken from the reference"
            )
        return notes

    def alone(self) -> list[tuple[Change, Fired]]:
        found = []
        for change in rules_alone(self.rules, self.resets, cyclic=self.cyclic is not None):
            try:
                found.append((change, self.run(apply(self.reference, [change]))))
            except BadInput:
                continue
        return found

    @property
    def cyclic(self) -> str | None:
        return next((layer.name for layer in self.program.layers if layer.delayed), None)

    def platform(self, platform: Platform) -> Row:
        machine = platform.machine(self.rules)
        row = Row(platform.name, platform.source, "same", machine.dtype)
        obstacle = platform.obstacle(self.original, self.flat, self.cyclic)
        if obstacle is None:
            try:
                theirs = self.run(machine)
            except BadInput as error:
                obstacle = "refused", f"node {error.where}: {error.reason}"
        if obstacle is not None:
            row.status, row.cause = obstacle
            row.remedy = self.dialect(platform) or platform.hint(row.cause)
            return row
        self.compared(row, theirs)
        if row.status == "differs":
            self.attribute(row, platform, theirs)
        return row

    def compared(self, row: Row, theirs: Fired) -> Row:
        wrong = theirs.differs(self.right)
        row.answer, row.spikes = self.letter(theirs), theirs.count
        row.differ = int(sum(where.sum() for name, where in wrong.items() if name in theirs.spikes))
        row.outputs = int(sum(where.sum() for name, where in wrong.items() if name not in theirs.spikes))
        row.status = "differs" if row.differ or row.outputs else "same"
        row.first = _first(wrong)
        return row

    def attribute(self, row: Row, platform: Platform, theirs: Fired) -> None:
        def reproduces(chosen: Sequence[Change]) -> bool:
            try:
                return self.run(apply(self.reference, chosen)).same(theirs)
            except BadInput:
                return False

        changes = departures(platform, self.rules, self.resets)
        found = explain(changes, reproduces)
        row.causes = [[change.key for change in chosen] for chosen in found]
        row.cause = "; or: ".join(" and ".join(change.text for change in chosen) for chosen in found)
        if not found:
            row.cause = "none of its known rules explains this"
        row.remedy = self.dialect(platform)
        if row.remedy:
            row.tested = 0
            return
        given = dataclasses.replace(platform, dt=None)  # where dt is an argument, giving it is the first thing to do
        left = [change for change in departures(given, self.rules, self.resets) if self.matters(change)]
        tested = self.trial(given)
        if tested is not None and tested * NEARLY <= row.differ + row.outputs:
            argument = [f"give the importer dt={self.rules.dt:g}"] if platform.dt is not None else []
            row.remedy = "; ".join([*argument, *filter(None, [remedies.words(given, self.rules, left)])])
            row.tested = tested
        else:
            row.remedy = remedies.hopeless(row.causes, left)

    def matters(self, change: Change) -> bool:
        """Whether ``change`` changes anything in this graph: R = 1 is ignored without harm."""
        machine = apply(self.reference, [change])
        return machine.program(self.loaded).sha256 != self.program.sha256

    def trial(self, platform: Platform) -> int | None:
        """How many spikes and outputs still differ with the mended file; None where the platform stops at it."""
        try:
            mended = self.run(remedies.mended(platform, self.rules))
        except BadInput:
            return None
        right, theirs = remedies.undelayed(platform, self.program, self.right, mended)
        return int(sum(where.sum() for where in theirs.differs(right).values()))

    def dialect(self, platform: Platform) -> str:
        """The command that writes the platform's own file, where that file gives the reference's spikes; or ""."""
        stated = Rules() if self.whole is None else self.rules
        if platform.name not in DIALECTS or self.rules != stated or "spikestrip" in self.loaded.graph.metadata:
            return ""
        try:
            written = dialect_graph(self.whole or self.program, platform.name)
            machine = platform.machine(self.rules)
            program = machine.program(dataclasses.replace(self.loaded, graph=written, without_reset=()))
            theirs = fire(program, self.x.reshape(*self.x.shape[:2], *program.input_shape), machine.dtype, self.spiking)
        except (BadInput, KeyError):
            return ""
        if not theirs.same(self.right):
            return ""
        return f"spikestrip to-nir {self.loaded.source.name} --dialect {platform.name}"


def _named(source: object) -> str:
    return "the input" if isinstance(source, np.ndarray) else str(source)


def _first(wrong: dict[str, np.ndarray]) -> dict[str, Any] | None:
    """The earliest step of any sample; in it, the first layer in order of execution."""
    found: dict[str, Any] | None = None
    for name, where in wrong.items():
        if where.any():
            step = int(where.any(axis=(0, 2)).argmax())
            if found is None or step < found["step"]:
                sample, neuron = (int(index) for index in np.argwhere(where[:, step])[0])
                found = {"sample": sample, "step": step, "layer": name, "neuron": neuron}
    return found


def _standard(graph: nir.NIRGraph) -> nir.NIRGraph:
    """A canonical graph as one of standard nodes alone: what a reader sees that knows no metadata."""
    nodes: dict[str, nir.NIRNode] = {}
    for name, node in graph.nodes.items():
        nodes[name] = _standard(node) if isinstance(node, nir.NIRGraph) else copy.copy(node)
        nodes[name].metadata = {}
    return nir.NIRGraph(nodes, graph.edges, metadata={}, type_check=False)
