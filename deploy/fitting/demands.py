"""What each layer takes of a chip that is filled with programmable neurons: one row of a table for each operation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any, Literal

from deploy.fitting.chip import Chip
from spikestrip.errors import Refused
from spikestrip.operations import Operation
from spikestrip.program import INPUT, Layer, Program


@dataclasses.dataclass(frozen=True)
class Bundle:
    """The chip's neurons that one output takes, where they are several: they lie on one core, and all send values.

    recurrent: synapses among them, over which ``loop`` messages go in every step; entering: synapses by which one value
    that is read enters; leaving: synapses by which one output is read.
    """

    neurons: int = 1
    loop: int = 0
    recurrent: int = 0
    entering: int = 1
    leaving: int = 1


def _graded(ssm: Any) -> Bundle:
    """A channel of the stock mapping's SSM: GradedVec of re and im of every mode, and of the input, which D reads."""
    modes = 2 * ssm.a_re.shape[1]
    held = 1 + 2 * len(ssm.a_exp) + (1 if ssm.rounding else 0)  # itself, the words of A - 1, a constant
    return Bundle(modes + 1, modes, modes * held, modes * len(ssm.b_exp) + 1, (modes + 1) * len(ssm.c_exp))


@dataclasses.dataclass(frozen=True)
class Row:
    """How an operation lies on the chip.

    role: "neuron": it has neurons of its own; "synapse": its weights lie with the neurons that read it; or "wire".
    synapses: weights that enter one of its outputs, beyond those of the values that it reads.
    spread: each of its outputs needs all that it reads. stateless: its state variables are no neuron's.
    bundle: the chip's neurons in one of its outputs. unknown: what isn't known of it on the chip.
    """

    role: Literal["neuron", "synapse", "wire"]
    synapses: Callable[[Any], int] = lambda operation: 0
    spread: bool = False
    stateless: bool = False
    bundle: Callable[[Any], Bundle] = lambda operation: Bundle()
    unknown: str = ""


ROWS: dict[str, Row] = {
    "affine": Row("synapse", lambda affine: affine.weight.shape[1], spread=True),
    "scale": Row("synapse", lambda scale: 1),
    "conv1d": Row("synapse", lambda conv: math.prod(conv.weight.shape[1:]), spread=True),
    "conv2d": Row("synapse", lambda conv: math.prod(conv.weight.shape[1:]), spread=True),
    "sum_pool2d": Row("synapse", lambda pool: pool.kernel_y * pool.kernel_x, spread=True),
    "avg_pool2d": Row("synapse", lambda pool: pool.kernel_y * pool.kernel_x, spread=True),
    "join": Row("wire"),
    "max_pool2d": Row("neuron", lambda pool: pool.kernel_y * pool.kernel_x, spread=True),
    "flatten": Row("wire"),
    "reshape": Row("wire"),
    "pad": Row("wire"),
    "lif": Row("neuron"),
    "lif_refractory": Row("neuron"),
    "lif_adaptive": Row("neuron"),
    **dict.fromkeys(
        ("if_several", "lif_several"),
        Row("neuron", unknown="the quotient of a neuron that sends several spikes in a step"),
    ),
    "li": Row("neuron"),
    "s4d": Row("neuron"),
    "threshold": Row("neuron"),
    "delay": Row("neuron"),
    "clamp": Row("neuron"),
    "bernoulli": Row("neuron", stateless=True, unknown="the program's random numbers: a chip draws others"),
    "glu": Row("neuron", unknown="a sigmoid in the neuron's integer arithmetic"),
    "gelu": Row("neuron", unknown="a GELU in the neuron's integer arithmetic"),
    # mean and variance: a sum each to which every feature sends, and which every feature reads
    "layer_norm": Row("neuron", lambda norm: 4, True, unknown="a root and a quotient in integer arithmetic"),
    # integer programs: weights and coefficients are (words, ...)
    "fixed_input": Row("wire"),
    "fixed_affine": Row("synapse", lambda affine: affine.weight.shape[0] * affine.weight.shape[1], spread=True),
    "fixed_scale": Row("synapse", lambda scale: scale.weight.shape[0]),
    "fixed_current": Row("neuron"),
    "fixed_lif": Row("neuron"),
    "fixed_if": Row("neuron"),
    "fixed_s4d": Row("neuron", bundle=_graded),
    "fixed_readout": Row("neuron"),
    "fixed_s4d_modes": Row("neuron"),
    "fixed_lif_programmed": Row("neuron"),
    "fixed_lif_refractory": Row("neuron"),
}

BITS = {
    **dict.fromkeys(("decay", "decay_r", "decay_a", "dv", "dr"), "decay_bits"),
    **dict.fromkeys(("threshold", "vth"), "threshold_bits"),
    **dict.fromkeys(("a_re", "a_im", "b", "b_re", "b_im", "c_re", "c_im", "d"), "coefficient_bits"),
}
"""The width of a neuron's parameter by its name; all others are as wide as a state."""


@dataclasses.dataclass(frozen=True)
class Source:
    """What a group reads: another group or the input.

    spread: each message goes to all of the reader's cores; weighted: it meets a layer's weights, and isn't just added.
    """

    name: str
    spread: bool
    weighted: bool


@dataclasses.dataclass(frozen=True)
class Group:
    """The neurons of one layer, all alike, or bundles of them.

    synapses: weights that enter one; bits: state and parameters of one; operations: the weights' layers.
    """

    name: str
    neurons: int
    synapses: int
    bits: int
    sources: tuple[Source, ...]
    operations: tuple[str, ...]
    bundle: Bundle = Bundle()


def row(layer: Layer) -> Row:
    """The row of a layer's operation. Raises Refused: of an operation without one nothing is known."""
    kind = layer.operation.kind
    if kind not in ROWS:
        raise Refused(layer.name, f"nothing is known of what {kind} takes on this chip")
    return ROWS[kind]


def bundle(layer: Layer) -> Bundle:
    """The chip's neurons in one output of ``layer``."""
    return row(layer).bundle(layer.operation)


def groups(program: Program, chip: Chip) -> list[Group]:
    """The neurons of ``program``, layer by layer.

    Weights lie with the neurons that read them. A sum of weighted inputs that several layers read, or other weights,
    needs neurons of its own: they add, and send the value on.
    """
    bearing = _bearing(program)
    return [_group(program, chip, program[name], bearing) for name in bearing]


def weights(program: Program) -> int:
    """Weights of all matrices and kernels, each once."""
    matrices = [layer.operation for layer in program.layers if row(layer).role == "synapse"]
    return sum(operation.weight.size for operation in matrices if hasattr(operation, "weight"))


def _bearing(program: Program) -> list[str]:
    """The layers that have neurons, in order."""
    layers = {layer.name: layer for layer in program.layers}
    readers: dict[str, list[Layer]] = {name: [] for name in (*layers, INPUT)}
    for layer in program.layers:
        for source in (*layer.inputs, *layer.delayed):
            readers[source].append(layer)
    pending: set[str] = set()  # streams that are sums of weighted inputs, not yet in any neuron
    bearing = []
    for layer in program.layers:
        role = row(layer).role
        sums = role == "synapse" or (role == "wire" and bool(pending & set(layer.inputs)))
        reader = readers[layer.name]
        merges = (
            len(reader) == 1
            and layer.name != program.output
            and layer.name not in reader[0].delayed
            and row(reader[0]).role != "synapse"
            and bundle(reader[0]).neurons == 1
        )
        if bundle(layer).neurons > 1 and not (len(reader) == 1 and row(reader[0]).role == "neuron"):
            raise Refused(layer.name, "is read by what isn't one layer of neurons, which fit doesn't count")
        if role == "neuron" or (sums and not merges):
            bearing.append(layer.name)
        elif sums:
            pending.add(layer.name)
    return bearing


def _group(program: Program, chip: Chip, layer: Layer, bearing: list[str]) -> Group:
    operation, own, inner = layer.operation, row(layer), bundle(layer)
    neurons = math.prod(program.shapes[layer.name])
    synapses, bits = inner.recurrent, 0
    sources: list[Source] = []
    operations: list[str] = []
    if inner.neurons > 1:
        bits += inner.neurons * chip.number("state_bits")
    elif own.role == "neuron":
        synapses += own.synapses(operation)
        bits += _parameters(operation, neurons, chip)
        if not own.stateless:
            states = sum(math.prod(shape) for shape in program.state_shapes(layer).values())
            bits += -(-states // neurons) * chip.number("state_bits")
    else:
        bits += chip.number("state_bits")
    for stream in [layer.name] if own.role == "synapse" else (*layer.inputs, *layer.delayed):
        for found in _entering(program, stream, bearing, own_weights=stream == layer.name):
            if isinstance(found, Layer):
                kind = row(found)
                rows = -(-math.prod(program.shapes[found.name]) // neurons)  # a gate's neuron reads two
                synapses += rows * kind.synapses(found.operation)
                operations.append(found.name)
                if getattr(found.operation, "bias", None) is not None:
                    bits += rows * chip.number("state_bits")
                for read in (*found.inputs, *found.delayed):
                    sources += [Source(name, kind.spread, True) for name in _sent(program, read, bearing)]
            else:
                leaving = 1 if found == INPUT else bundle(program[found]).leaving
                synapses += -(-math.prod(program.shapes[found]) // neurons) * leaving * inner.entering
                sources.append(Source(found, own.spread, False))
    return Group(layer.name, neurons, synapses, bits, tuple(sources), tuple(operations), inner)


def _entering(program: Program, stream: str, bearing: list[str], own_weights: bool = False) -> Iterator[Layer | str]:
    """What ``stream`` adds to a neuron: layers of weights, and names of groups (or the input) read as they are."""
    if stream == INPUT or (stream in bearing and not own_weights):
        yield stream
    elif row(program[stream]).role == "synapse":
        yield program[stream]
    else:
        for source in (*program[stream].inputs, *program[stream].delayed):
            yield from _entering(program, source, bearing)


def _sent(program: Program, stream: str, bearing: list[str]) -> Iterator[str]:
    """The groups (or the input) whose messages ``stream`` is: wires carry them on."""
    if stream == INPUT or stream in bearing:
        yield stream
    else:
        for source in (*program[stream].inputs, *program[stream].delayed):
            yield from _sent(program, source, bearing)


def _parameters(operation: Operation, neurons: int, chip: Chip) -> int:
    """Bits of one neuron's parameters; what has fewer elements than there are neurons is the layer's."""
    bits = 0
    for name, array in operation.arrays().items():
        if array.size < neurons:
            continue
        bits += -(-array.size // neurons) * chip.number(BITS.get(name, "state_bits"))
    return bits
