"""lava-dl's NetX files (.net, HDF5) as programs of integers: what NetX's Network computes on Lava's fixed-point models.

Read from lava-dl's source (lava.lib.dl.netx.hdf5 and slayer's export_hdf5): ``layer/<i>`` is an input, a dense, a
dense_rec, a conv or a flatten; a neuron is Lava's LIF with du = iDecay - 1, dv = vDecay, vth = vThMant and a bias << 6.

Time is aligned: Lava's synapses each take a step, and a program's none. A bias therefore begins in the step in which a
layer's input begins, and in Lava before it; NetX's own resets (``reset_interval``) are not part of the file.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from convert.formats.netx.fields import Fields
from convert.formats.nir.reading import Reading
from convert.modules.program_builder import ProgramBuilder
from spikestrip import hdf5
from spikestrip.errors import BadInput
from spikestrip.files import parsing
from spikestrip.operations import Conv2d, Delay, FixedAffine, FixedCurrent, FixedLIF, Flatten, Operation, Shape
from spikestrip.operations.fixed import held
from spikestrip.program import INPUT

NEURONS = ("LOIHI", "CUBA")
MOST = 62
"""The longest delay that NetX keeps."""


def reading(path: str | os.PathLike[str]) -> Reading:
    """The program in a NetX file.

    Raises BadInput, naming the layer, for what NetX doesn't run and for what no operation on integers says.
    """
    source = hdf5.scan(path)
    with h5py.File(source, "r") as file:
        layers = file.get("layer")
        if not isinstance(layers, h5py.Group) or not len(layers):
            raise BadInput(source, "is no NetX file: it has no group 'layer'")
        names = [str(place) for place in range(len(layers))]
        if set(layers) != set(names):
            raise BadInput(source, f"has layers {', '.join(sorted(layers)[:5])}, not 0 to {len(names) - 1}")
        net = _Net(source, len(names))
        for name in names:
            with parsing(source, f"layer {name} can't be read"):
                net.layer(Fields(source, f"layer {name}", layers[name]))
    return Reading(net.program(), tuple(net.remarks))


class _Net:
    """The layers so far; ``stream`` is what the last one gives, None before the first."""

    def __init__(self, source: Path, layers: int) -> None:
        self.source, self.layers, self.remarks = source, layers, list[str]()
        self.builder: ProgramBuilder | None = None
        self.stream = INPUT

    def layer(self, fields: Fields) -> None:
        kind = fields.text("type")
        if kind not in LAYERS:
            fields.refuse(f"is a {kind!r}; {', '.join(LAYERS)} are known")
        try:
            LAYERS[kind](self, fields)
        except BadInput as error:
            if error.where == str(self.source):
                raise
            fields.refuse(error.reason)  # of an operation, which knows neither file nor layer

    def program(self) -> Any:
        if self.builder is None or self.stream == INPUT:
            raise BadInput(self.source, "holds no layer that computes")
        return self.builder.program(self.stream)

    def begin(self, shape: Shape) -> ProgramBuilder:
        """The builder, made for steps of ``shape`` if this is the first layer."""
        if self.builder is None:
            self.builder = ProgramBuilder(shape, most=6 * self.layers)
        return self.builder

    def add(self, fields: Fields, part: str, operation: Operation) -> None:
        assert self.builder is not None
        self.stream = self.builder.add(f"{fields.where.replace(' ', '')}_{part}", operation, self.stream)

    def input(self, fields: Fields) -> None:
        if self.builder is not None:
            fields.refuse("is an input that is not the first layer")
        self.begin(fields.shape())
        if "neuron" in fields:
            weight, bias = fields.number("weight", 64), fields.number("bias", 0)
            self.remarks.append(
                f"its input are the whole numbers that NetX gives to the first neurons as their bias: for x from 0 to "
                f"1, int({2 * weight}*x - {weight} + {bias})"
            )
            self.neuron(fields, None)

    def flatten(self, fields: Fields) -> None:
        if self.builder is None:
            fields.refuse("flattens an input that no layer has given a shape")
        if len(self.builder.shapes[self.stream]) > 1:
            self.add(fields, "flatten", Flatten())

    def dense(self, fields: Fields, recurrent: bool = False) -> None:
        outputs = math.prod(fields.shape())
        weight = self._matrix(fields, "weight", outputs)
        inputs = weight.shape[1]
        before = self.begin((inputs,)).shapes[self.stream]
        if len(before) > 1:
            if math.prod(before) != max(before):
                fields.refuse(f"is dense on {before}, which no flatten layer made one axis")
            self.flatten(fields)
        delay = self._delay(fields, outputs, inputs)
        if delay is not None and len(delay) == inputs != outputs:
            self.add(fields, "delay", Delay.of(delay))
        self.add(fields, "weight", FixedAffine(*self._words(fields, weight)))
        if delay is not None and len(delay) == outputs:
            if recurrent:
                fields.refuse("is recurrent and has delays, of which NetX leaves the exponent of the weights out")
            self.add(fields, "delay", Delay.of(delay))
        if not recurrent:
            self.neuron(fields, fields.whole("bias") if "bias" in fields else None)
            return
        back = self._matrix(fields, "weight_rec", outputs)
        bias = fields.whole("bias") if "bias" in fields else None
        first = self.neuron(fields, bias)
        assert self.builder is not None
        feedback = FixedAffine(*self._words(fields, back))
        source = self.builder.add(f"{fields.where.replace(' ', '')}_weight_rec", feedback, self.stream)
        self.builder.feed_back(source, first)

    def recurrent(self, fields: Fields) -> None:
        self.dense(fields, recurrent=True)

    def conv(self, fields: Fields) -> None:
        if self.builder is None:
            fields.refuse("is the first layer, and the file states no shape of the input")
        weight = fields.whole("weight")
        if weight.ndim == 5 and weight.shape[4] == 1:
            weight = weight[..., 0]
        if weight.ndim != 4 or "delay" in fields:
            fields.refuse("has delays, or weights that are not (out, in, height, width)")
        if np.abs(weight).max(initial=0) > 256:
            fields.refuse("has weights beyond 8 bits with a sign")
        (down, left), stride, dilation = fields.pair("padding"), fields.pair("stride"), fields.pair("dilation")
        self.add(
            fields,
            "weight",
            Conv2d(
                *(weight.astype(np.float32), None, *stride, *dilation, down, down, left, left),
                groups=fields.number("groups", 1),
            ),
        )
        found = self.builder.shapes[self.stream]
        if found != fields.shape():
            fields.refuse(f"makes {found} of what enters, and states {fields.shape()}")
        self.neuron(fields, fields.whole("bias") if "bias" in fields else None)

    def neuron(self, fields: Fields, bias: np.ndarray | None) -> str:
        """Append the layer's neuron; returns the layer that takes what enters it."""
        assert self.builder is not None
        if "neuron" not in fields:
            fields.refuse("has no neuron: NetX integrates without a leak then, which stock LIF's current doesn't hold")
        neuron = Fields(self.source, f"{fields.where}, neuron", fields.group["neuron"])
        kind = neuron.text("type")
        if kind not in NEURONS:
            neuron.refuse(f"is a {kind!r}; {' and '.join(NEURONS)} (CUBA) are known")
        for name, plain in (("refDelay", 1), ("gradedSpike", 0), ("messageBits", 0)):
            if neuron.number(name, plain) != plain:
                neuron.refuse(f"has {name} {neuron.number(name)}, which stock LIF doesn't hold; {plain} can be read")
        decay, leak, threshold = (neuron.number(name) for name in ("iDecay", "vDecay", "vThMant"))
        if not 1 <= decay <= 4096:
            neuron.refuse(f"has iDecay {decay}, not one of 1..4096: without it a current would grow without end")
        shape = self.builder.shapes[self.stream]
        if decay < 4096:
            self.add(fields, "current", FixedCurrent(decay - 1))
        first = self.stream
        spread = None if bias is None else self._bias(fields, bias, shape)
        align = 6 if decay == 4096 else 0
        self.add(
            fields, "neuron", FixedLIF(leak, threshold, bias=spread, bias_exp=6 if bias is not None else 0, align=align)
        )
        return first if decay < 4096 else self.stream

    def _bias(self, fields: Fields, bias: np.ndarray, shape: Shape) -> np.ndarray:
        """One for each neuron, or for each channel."""
        flat = bias.reshape(-1)
        if flat.size == math.prod(shape):
            return flat.reshape(shape)
        if flat.size != shape[0]:
            fields.refuse(f"has a bias of {flat.size} for neurons of {shape}")
        return np.broadcast_to(flat.reshape(-1, *(1,) * (len(shape) - 1)), shape).copy()

    def _matrix(self, fields: Fields, name: str, outputs: int) -> np.ndarray:
        """(out, in)."""
        weight = fields.whole(name)
        if not weight.size or weight.size % outputs or weight.ndim > 2:
            fields.refuse(f"{name} of shape {weight.shape} doesn't fit {outputs} neurons")
        return weight.reshape(outputs, -1)

    def _words(self, fields: Fields, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``weight`` (out, in) as words (K, in, out) with their exponents, without a rounding."""
        even = (weight >> 1) << 1
        for words, exponents in (((weight,), (0,)), ((2 * weight,), (-1,)), ((even, weight - even), (0, 0))):
            if all(np.array_equal(held(word), word) for word in words):
                return np.stack([word.T for word in words]).astype(np.int16), np.array(exponents, np.int8)
        fields.refuse("has weights beyond 8 bits with a sign, which NetX clips")

    def _delay(self, fields: Fields, outputs: int, inputs: int) -> np.ndarray | None:
        """In steps, one for each output or for each input."""
        if "delay" not in fields:
            return None
        delay = fields.whole("delay")
        if delay.ndim == 0:
            delay = np.full(outputs, delay)
        if delay.ndim != 1 or len(delay) not in (outputs, inputs):
            fields.refuse(f"has delays of shape {delay.shape}; one for each output or for each input is known")
        if (delay < 0).any() or (delay > MOST).any():
            fields.refuse(f"has delays that are not of 0..{MOST}, which NetX clips")
        return delay


LAYERS = {
    "input": _Net.input,
    "dense": _Net.dense,
    "dense_rec": _Net.recurrent,
    "conv": _Net.conv,
    "flatten": _Net.flatten,
}
