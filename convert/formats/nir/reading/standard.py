"""Any graph of NIR's standard primitives as a program, by an explicit rule of integration."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import nir
import numpy as np

from convert import cycles
from convert.formats.nir.platforms import importers
from convert.formats.nir.reading import metadata
from convert.formats.nir.reading.feedback import from_the_first_step
from convert.formats.nir.reading.loading import Loaded
from convert.formats.nir.reading.rules import IMPORTER, Reset, Rules, Unstated, leak, synapse
from convert.formats.nir.reading.structure import Flat, flatten, shape_of
from convert.formats.nir.reading.synapses import FRAMES
from spikestrip.errors import BadInput
from spikestrip.operations import LIF, Delay, Join, LeakyIntegrator, Operation, Scale, Shape, Threshold
from spikestrip.program import INPUT, Layer, Program

NEVER = float(np.finfo(np.float32).max)
"""A threshold that no potential reaches, and that both float32 and float64 hold."""
LONG = 1000
"""Steps of silence under an input of 1 that are worth a remark, where nobody stated dt."""


def program(loaded: Loaded, rules: Rules) -> tuple[Program, tuple[str, ...]]:
    """The program of a graph that we did not write, and remarks. Raises BadInput(node, reason)."""
    flat, entry, exit_ = flatten(loaded.graph)
    rules, remarks = _by_the_file(loaded, rules)
    flat.remarks += remarks
    try:
        return _Builder(loaded, rules, flat, entry, exit_).build()
    except BadInput as error:
        shifted = {name: _without_batch(node) for name, node in flat.nodes.items() if _counts_from_one(node)}
        if not shifted or rules.integrate.startswith(IMPORTER):
            raise
        paths = ", ".join(flat.paths[name] for name in shifted)
        remark = f"{paths}: Flatten is read with the batch as its axis 0, since the shapes fit in no other way"
        other = dataclasses.replace(flat, nodes=flat.nodes | shifted, remarks=[*flat.remarks, remark])
        try:
            return _Builder(loaded, rules, other, entry, exit_).build()
        except BadInput:  # neither way: what the nodes say by NIR's own counting is told
            raise error from None


def step(loaded: Loaded, rules: Rules) -> float:
    """Seconds of one step of this file: as asked for, or else as its metadata say, or else the default."""
    return _by_the_file(loaded, rules)[0].dt


def _by_the_file(loaded: Loaded, rules: Rules) -> tuple[Rules, list[str]]:
    if rules.integrate.startswith(IMPORTER):
        return rules, []  # importers read no metadata
    if isinstance(rules.dt, Unstated):
        dt = metadata.step(loaded.graph)
        said = [] if dt is None else [f"dt is {dt:g} s, as the file's metadata say"]
        return (rules if dt is None else dataclasses.replace(rules, dt=dt)), said
    try:
        dt = metadata.step(loaded.graph)
    except BadInput:
        dt = None
    differs = dt is not None and dt != rules.dt
    return rules, [f"dt is {rules.dt:g} s as asked for, although the file's metadata say {dt:g} s"] if differs else []


def _counts_from_one(node: nir.NIRNode) -> bool:
    return isinstance(node, nir.Flatten) and int(node.start_dim) >= 1


def _without_batch(node: nir.Flatten) -> nir.Flatten:
    end = int(node.end_dim)
    return nir.Flatten({"input": None}, int(node.start_dim) - 1, end - 1 if end > 0 else end)


class _Builder:
    """Makes the layers in order of execution; a node can become several (a current-based neuron is two)."""

    def __init__(self, loaded: Loaded, rules: Rules, flat: Flat, entry: str, exit_: str) -> None:
        self.loaded, self.rules, self.flat, self.entry, self.exit = loaded, rules, flat, entry, exit_
        self.remarks = list(flat.remarks)
        self.layers: dict[str, Layer] = {}
        self.alias: dict[str, str] = {entry: INPUT}
        self.shapes: dict[str, Shape] = {}
        self.imported_by = rules.integrate.removeprefix(IMPORTER) if rules.integrate.startswith(IMPORTER) else ""
        self.importer = importers.importer(self.imported_by) if self.imported_by else None

    def check_wiring(self) -> None:
        """Raise BadInput where the importer is known to run these edges otherwise, or may; not for the dialect that
        Spikestrip wrote for it, whose every edge was tried."""
        if metadata.word(self.loaded.graph.metadata, "spikestrip") == self.imported_by:
            return
        otherwise = importers.wiring(self.imported_by, self.flat.paths, self.flat.edges)
        if otherwise is not None:
            raise BadInput(*otherwise)
        several = next((remark for remark in self.flat.remarks if remark.startswith("ambiguous")), None)
        if several is not None:
            raise BadInput("graph", f"{several}: {self.imported_by} may delay another edge")

    def build(self) -> tuple[Program, tuple[str, ...]]:
        if self.importer is not None:
            self.check_wiring()
        order = cycles.execution_order(self.flat.nodes, [(a, b) for a, b, delayed in self.flat.edges if not delayed])
        shape = _shape(self.flat.nodes[self.entry].input_type["input"])
        if shape is None:
            raise BadInput(self.flat.paths[self.entry], "states no shape")
        self.shapes[INPUT] = shape
        for name in order:
            if name != self.entry:
                self.add(name)
        layers = tuple(
            Layer(
                layer.name,
                layer.operation,
                tuple(map(self.resolve, layer.inputs)),
                tuple(map(self.resolve, layer.delayed)),
            )
            for layer in self.layers.values()
        )
        for layer in layers:
            for source in (*layer.inputs, *layer.delayed):
                if (*layer.inputs, *layer.delayed).count(source) > 1:
                    raise BadInput(self.flat.paths.get(layer.name, layer.name), f"is fed twice by {source}")
        output = self.resolve(self.exit)
        if output == INPUT:
            raise BadInput("graph", "leads from its input to its output without a node between")
        made = Program(shape, layers, output)
        self.check_shapes(made)
        if self.importer is None or self.rules.integrate == f"{IMPORTER}snntorch":
            made, moved = from_the_first_step(made)
            for name in moved:
                path = self.flat.paths.get(name, name)
                self.remarks.append(f"{path}: its bias enters in the first step too; norse leaves it out there")
        return made, tuple(dict.fromkeys(self.remarks))

    def check_shapes(self, made: Program) -> None:
        """What nodes state about their stream, held against it: ends are refused, frames remarked (nir infers some)."""
        layers = {layer.name: layer for layer in made.layers}
        for name, node in self.flat.nodes.items():
            path = self.flat.paths[name]
            if isinstance(node, nir.Input | nir.Output):
                stated, found = _shape(next(iter(node.input_type.values()))), made.shapes[self.resolve(name)]
                if stated and stated != found:
                    raise BadInput(path, f"states the shape {stated}, and {found} arrives")
                continue
            if isinstance(node, nir.Conv1d | nir.Conv2d):
                stated, found = _shape(node.input_shape), made.entering_shape(layers[name])[1:]
            elif isinstance(node, nir.Flatten):
                stated, found = _shape(node.input_type["input"]), made.entering_shape(layers[name])
            else:
                continue
            if stated and stated != found:
                self.remarks.append(f"{path}: states inputs of shape {stated}, but {found} arrives; it is run on that")

    def resolve(self, name: str) -> str:
        while name in self.alias:
            name = self.alias[name]
        return name

    def add(self, name: str) -> None:
        node, path = self.flat.nodes[name], self.flat.paths[name]
        inputs = tuple(a for a, b, delayed in self.flat.edges if b == name and not delayed)
        delayed = tuple(a for a, b, delayed in self.flat.edges if b == name and delayed)
        if isinstance(node, nir.Input | nir.Output):
            if len(inputs) == 1 and not delayed:
                self.alias[name] = inputs[0]
            else:
                self.put(name, Join(), inputs, delayed)
            return
        if not inputs and not delayed:
            raise BadInput(path, "is fed by nothing")
        kind = type(node).__name__
        if self.importer is not None and (reason := importers.refusal(self.imported_by, kind)) is not None:
            raise BadInput(path, reason)
        for field, value in vars(node).items():
            if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
                continue
            if field in ("threshold", "v_threshold"):
                value = np.where(np.isposinf(value), NEVER, value)
            if not np.isfinite(value).all():
                raise BadInput(path, f"{field} holds NaN or infinity")
        try:
            NODES[type(node)](self, name, node, inputs, delayed)
        except BadInput as error:
            raise BadInput(
                path, error.reason if error.where in (name, path) else f"{error.where} {error.reason}"
            ) from error

    def put(self, name: str, operation: Operation, inputs: tuple[str, ...], delayed: tuple[str, ...] = ()) -> str:
        self.layers[name] = Layer(name, operation, inputs, delayed)
        shape = self.entering(inputs + delayed)
        if shape is not None:
            self.shapes[name] = operation.output_shape(shape)
        return name

    def entering(self, sources: tuple[str, ...]) -> Shape | None:
        return next((self.shapes[name] for name in map(self.resolve, sources) if name in self.shapes), None)

    def fitted(self, node: nir.NIRNode, fields: str, sources: tuple[str, ...]) -> dict[str, np.ndarray]:
        """The node's parameters in float64, spread over the stream that enters as numpy does: one value for all
        neurons, or (C, 1, 1) over frames. An infinite threshold becomes one that nothing reaches.
        """
        values = {field: np.asarray(getattr(node, field), np.float64) for field in fields.split()}
        shape = self.entering(sources)
        for field, value in values.items():
            if field.endswith("threshold") and np.isposinf(value).any():
                value = np.where(np.isposinf(value), NEVER, value)
            if shape is not None and value.size == 1:
                value = np.full(shape, value.reshape(()))
            elif shape is not None and len(shape) == value.ndim and _spreads(value.shape, shape):
                value = np.broadcast_to(value, shape).copy()
            values[field] = value
        shapes = {value.shape for value in values.values()}
        if len(shapes) > 1:
            raise BadInput("parameters", f"have different shapes {sorted(shapes)}")
        return values

    def reset(self, name: str) -> Reset:
        """As asked for, or as the metadata of the node or of a graph around it say, or as its v_reset implies."""
        if self.rules.reset is not None:
            return self.rules.reset
        stated = metadata.reset(self.flat.scopes[name])
        if stated is not None:
            return stated
        if self.flat.paths[name] in self.loaded.without_reset:
            raise BadInput(
                name,
                f"does not say how it resets (a file of nir {self.loaded.version}): older files mean subtraction, "
                "newer readers take them as hard; give --reset soft or --reset hard",
            )
        return "hard"

    def lif(self, name: str, node: nir.LIF | nir.IF, inputs: tuple[str, ...], delayed: tuple[str, ...]) -> None:
        if self.importer is not None and isinstance(node, nir.IF):
            spread_if = nir.IF(**self.fitted(node, "r v_threshold v_reset", inputs + delayed))
            self.put(name, importers.iaf(spread_if), inputs, delayed)
            return
        if self.importer is not None:
            spread = nir.LIF(**self.fitted(node, "tau r v_leak v_threshold v_reset", inputs + delayed))
            self.put(name, importers.lif(self.importer, spread, self.rules.dt), inputs, delayed)
            return
        neuron = isinstance(node, nir.LIF)
        values = self.fitted(node, "r v_threshold v_reset" + " tau v_leak" * neuron, inputs + delayed)
        if neuron:
            self.check_tau(name, values["tau"])
            made = leak(values["tau"], values["r"], values["v_leak"], self.rules.integrate, self.rules.dt)
            decay, gain, bias = made.decay, made.gain, made.bias
        else:
            decay, gain, bias = np.ones_like(values["r"]), values["r"] * self.rules.dt, np.zeros_like(values["r"])
        self.spiking(name, decay, gain, bias, values, inputs, delayed)

    def spiking(
        self,
        name: str,
        decay: np.ndarray,
        gain: np.ndarray | None,
        bias: np.ndarray,
        values: dict[str, np.ndarray],
        inputs: tuple[str, ...],
        delayed: tuple[str, ...],
    ) -> None:
        reset = self.reset(name)
        v_reset = values["v_reset"]
        if reset == "soft" and v_reset.any():
            self.remarks.append(f"{self.flat.paths[name]}: v_reset is not 0, and reset by subtraction leaves it out")
        if gain is not None and not bias.any():
            self.check_speed(name, values["v_threshold"], gain)
        neuron = LIF(
            decay,
            values["v_threshold"],
            v_reset=v_reset if v_reset.any() and reset == "hard" else None,
            gain=None if gain is None or (gain == 1).all() else gain,
            bias=bias if bias.any() else None,
            reset_kind=reset,
            comparison=self.rules.compare,
        )
        self.put(name, neuron, inputs, delayed)

    def integrator(self, name: str, node: nir.LI | nir.I, inputs: tuple[str, ...], delayed: tuple[str, ...]) -> None:
        if self.importer is not None:
            spread = nir.LI(**self.fitted(node, "tau r v_leak", inputs + delayed))
            self.put(name, importers.li(self.importer, spread), inputs, delayed)
            return
        if isinstance(node, nir.I):
            gain = self.fitted(node, "r", inputs + delayed)["r"] * self.rules.dt
            decay, bias = np.ones_like(gain), np.zeros_like(gain)
        else:
            values = self.fitted(node, "tau r v_leak", inputs + delayed)
            self.check_tau(name, values["tau"])
            made = leak(values["tau"], values["r"], values["v_leak"], self.rules.integrate, self.rules.dt)
            decay, gain, bias = made.decay, made.gain, made.bias
        li = LeakyIntegrator(decay, None if (gain == 1).all() else gain, bias if bias.any() else None)
        self.put(name, li, inputs, delayed)

    def cuba(
        self, name: str, node: nir.CubaLIF | nir.CubaLI, inputs: tuple[str, ...], delayed: tuple[str, ...]
    ) -> None:
        """A current that leaks, then a membrane; the current comes first, so that an input acts in its own step."""
        spikes = isinstance(node, nir.CubaLIF)
        fields = "tau_syn tau_mem r v_leak w_in" + " v_threshold v_reset" * spikes
        values = self.fitted(node, fields, inputs + delayed)
        for tau in ("tau_syn", "tau_mem"):
            self.check_tau(name, values[tau])
        method, dt, nothing = self.rules.integrate, self.rules.dt, np.zeros_like(values["r"])
        current = leak(values["tau_syn"], values["w_in"], nothing, method, dt)
        membrane = leak(values["tau_mem"], values["r"], values["v_leak"], method, dt)
        sources: tuple[str, ...] = (
            self.put(self.flat.name(f"{name}_current"), LeakyIntegrator(current.decay, current.gain), inputs, delayed),
        )
        gain: np.ndarray | None = membrane.gain
        if method == "exponential":
            now, before = synapse(values["tau_syn"], values["tau_mem"], values["r"], dt)
            one_step = Delay.of(np.ones(now.shape, np.int64))
            previous = self.put(self.flat.name(f"{name}_before"), one_step, sources)
            sources = (
                self.put(self.flat.name(f"{name}_now_scaled"), Scale(now), sources),
                self.put(self.flat.name(f"{name}_before_scaled"), Scale(before), (previous,)),
            )
            gain = None
        if spikes:
            self.spiking(name, membrane.decay, gain, membrane.bias, values, sources, ())
        else:
            bias = membrane.bias if membrane.bias.any() else None
            self.put(name, LeakyIntegrator(membrane.decay, gain, bias), sources)

    def delay(self, name: str, node: nir.Delay, inputs: tuple[str, ...], delayed: tuple[str, ...]) -> None:
        steps = self.fitted(node, "delay", inputs + delayed)["delay"] / self.rules.dt
        whole = np.rint(steps)
        if (steps < 0).any() or not np.allclose(steps, whole, rtol=1e-6, atol=1e-6):
            raise BadInput("delay", f"is not a whole number of steps of {self.rules.dt} s")
        self.put(name, Delay.of(whole.astype(np.int64)), inputs, delayed)

    def threshold(self, name: str, node: nir.Threshold, inputs: tuple[str, ...], delayed: tuple[str, ...]) -> None:
        values = self.fitted(node, "threshold", inputs + delayed)
        self.put(name, Threshold(values["threshold"], self.rules.compare), inputs, delayed)

    def scale(self, name: str, node: nir.Scale, inputs: tuple[str, ...], delayed: tuple[str, ...]) -> None:
        self.put(name, Scale(self.fitted(node, "scale", inputs + delayed)["scale"]), inputs, delayed)

    def frame(self, name: str, node: nir.NIRNode, inputs: tuple[str, ...], delayed: tuple[str, ...]) -> None:
        if self.importer is not None and isinstance(node, nir.SumPool2d) and np.any(node.padding):
            raise BadInput(name, "has padding, which that importer leaves out")
        self.put(name, FRAMES[type(node)](node), inputs, delayed)

    def check_tau(self, name: str, tau: np.ndarray) -> None:
        if (tau <= 0).any():
            raise BadInput(name, "has a time constant that is not positive")
        if self.rules.integrate == "euler" and (tau < self.rules.dt).any():
            self.remarks.append(f"{self.flat.paths[name]}: dt is longer than a time constant; forward Euler overshoots")

    def check_speed(self, name: str, threshold: np.ndarray, gain: np.ndarray) -> None:
        """Say so where nobody stated dt and the default makes a neuron silent for long."""
        steps = np.divide(threshold, gain, out=np.zeros_like(threshold), where=(gain > 0) & (threshold < NEVER))
        if isinstance(self.rules.dt, Unstated) and steps.min() > LONG:
            self.remarks.append(
                f"{self.flat.paths[name]}: with the default dt of {self.rules.dt:g} s an input of 1 can't fire it "
                f"within {int(steps.min())} steps; if its numbers are meant by the step, give --dt 1"
            )


def _spreads(part: Shape, whole: Shape) -> bool:
    return all(size in (1, full) for size, full in zip(part, whole, strict=True))


def _shape(types: Any) -> Shape | None:
    return None if types is None else shape_of(types)


NODES: dict[type[nir.NIRNode], Callable[..., None]] = {
    nir.LIF: _Builder.lif,
    nir.IF: _Builder.lif,
    nir.LI: _Builder.integrator,
    nir.I: _Builder.integrator,
    nir.CubaLIF: _Builder.cuba,
    nir.CubaLI: _Builder.cuba,
    nir.Delay: _Builder.delay,
    nir.Threshold: _Builder.threshold,
    nir.Scale: _Builder.scale,
    **dict.fromkeys(FRAMES, _Builder.frame),
}
