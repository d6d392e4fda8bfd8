"""A SpikingSSM computed by the integers of Loihi 2's stock mapping."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikestrip.errors import BadInput, Refused
from spikestrip.operations import FixedAffine, FixedInput, FixedS4D, FixedScale, Operation
from spikestrip.operations.fixed import looped, rounding
from spikestrip.operations.fixed.rounding import value
from spikestrip.scales import Scales
from train.config import Config
from train.networks import Block, Network
from train.quantised.straight import spikes, straight_through
from train.ssm.block_convolution import block_convolution

Found = TypeVar("Found")
INPUT_BITS = 17
PIECE = 16


class QuantisedNetwork(Network):
    """The network's own parameters, and ``scales`` that stay as they are.

    Every forward pass folds the norms' stored statistics and the thresholds into the weights, rounds these to words
    (``rounding``, the same that ``quantize`` uses) and runs the integer program: whole numbers in float64, so that
    nothing is approximated: the spikes are the program's, in training as in evaluation. Gradients are those of the real
    maps with the rounded weights, in float32 for the SSM. Norms stay at their statistics, and there is no dropout.

    Raises Refused for a network that the stock mapping, or this pass, doesn't have.
    """

    def __init__(self, config: Config, scales: Scales) -> None:
        super().__init__(config)
        self.scales = scales
        reasons = {
            "only a SpikingSSM is trained in integers": config.model != "spikingssm",
            f"stock LIF has no {config.reset} reset": config.reset != "hard",
            f"stock Lava has no {config.mix} mix": config.mix != "linear",
            "only a BatchNorm behind the sum folds": config.norm != "batch" or config.prenorm,
            "tokens don't enter as numbers": config.tokens,
        }
        for reason, holds in reasons.items():
            if holds:
                raise Refused("--quantize loihi2", reason)

    def forward(self, x: Tensor, first_sample: int = 0) -> tuple[Tensor, list[Tensor]]:
        """As Network's; streams are (T, B, H), time first. Logits are float64."""
        scales, trains = self.scales, []
        entry = FixedInput(scales.entry, INPUT_BITS)
        stream = torch.from_numpy(entry.step(np, {}, x.double().transpose(0, 1).contiguous().numpy())[1])
        factor = 2.0 ** _of(scales.streams, "encoder")
        stream = self._affine("encoder", stream, *_linear(self.encoder, 2.0**scales.entry, factor))
        for index, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            stream, fired, factor = self._block(f"block{index}", block, stream, factor)
            trains.append(fired.permute(1, 2, 0))
        last = 2.0 ** _of(scales.streams, "head")
        logits = self._affine("head", stream, *_linear(self.head, factor, last))
        if self.config.readout == "mean":
            return logits.sum(dim=0) * (1 / last) / len(logits), trains
        return logits.transpose(0, 1) * (1 / last), trains

    def _block(self, name: str, block: Block, x: Tensor, entering: float) -> tuple[Tensor, Tensor, float]:
        """What leaves the block's join, its spikes, and the factor of the former."""
        factor = 2.0 ** _of(self.scales.streams, f"{name}_join")
        current, before = self._ssm(f"{name}_ssm", block, x, entering, _of(self.scales.units, f"{name}_spike"))
        neuron = rounding.lif(self.config.tau, _of(self.scales.units, f"{name}_spike"), before)
        fired = spikes(current, neuron, self.config.surrogate)
        gain, shift = _folded(block.norm)
        weight, bias = block.mix.weight.double() * gain[:, None], block.mix.bias.double() * gain + shift
        mixed = self._affine(f"{name}_mix", fired, weight * factor, bias * factor)
        return self._scale(f"{name}_skip", x, gain * factor / entering) + mixed, fired, factor

    def _ssm(self, name: str, block: Block, x: Tensor, entering: float, unit: int) -> tuple[Tensor, FixedS4D]:
        a, b, c = (bar.T for bar in block.ssm.bars())
        rows = unit / block.neuron.ln_vth.double().exp()
        states = torch.from_numpy(2.0 ** _of(self.scales.states, name))
        if states.shape != a.shape:
            raise BadInput("scales", f"of {name} are {tuple(states.shape)}, its modes {tuple(a.shape)}")
        b, c, d = b * (states / entering), c * (rows / states), block.ssm.D.double() * rows / entering
        real = [part.detach().numpy() for part in (a, b, c, d)]
        made = rounding.s4d(real[0], real[1], real[2], real[3], self._maker(name))
        resting = {part: np.zeros((x.shape[1], *states.shape)) for part in ("re", "im")}
        _, current = looped.s4d(made.bind(lambda array: array.astype(np.float64)), resting, x.detach().numpy())

        def smooth() -> Tensor:
            a_made = 1 + value(made.a_re, made.a_exp) + 1j * value(made.a_im, made.a_exp)
            b_made = value(made.b_re, made.b_exp) + 1j * value(made.b_im, made.b_exp)
            c_made = (value(made.c_re, made.c_exp) - 1j * value(made.c_im, made.c_exp)) / 2
            parts = ((a_made, a), (b_made, b), (c_made, c), (value(made.d, made.c_exp), d))
            a_bar, b_bar, c_bar, skip = (straight_through(exact, partial(torch.clone, part)) for exact, part in parts)
            entered = x.permute(1, 2, 0).float().contiguous()
            return block_convolution(entered, a_bar.T, (b_bar * c_bar).T, skip).permute(2, 0, 1).double()

        return straight_through(current, smooth), made

    def _affine(self, name: str, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        made = rounding.affine(weight.detach().numpy(), bias.detach().numpy(), self._maker(name))

        def smooth() -> Tensor:
            rounded = straight_through(np.ascontiguousarray(value(made.weight, made.exponent).T), lambda: weight)
            return F.linear(x, rounded, bias)

        return straight_through(_step(made, x), smooth)

    def _scale(self, name: str, x: Tensor, factor: Tensor) -> Tensor:
        made = rounding.scale(factor.detach().numpy(), self._maker(name))
        return straight_through(
            _step(made, x), lambda: x * straight_through(value(made.weight, made.exponent), lambda: factor)
        )

    def _maker(self, name: str) -> rounding.Make:
        held = _of(self.scales.words, name)

        def make(matrix: str, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            if matrix not in held:
                raise BadInput("scales", f"hold no words of {name}, {matrix}: they are of another network")
            return rounding.words(values, len(held[matrix]), held[matrix])

        return make


def _step(made: FixedAffine | FixedScale, x: Tensor) -> np.ndarray:
    """What ``made`` sends for x (T, B, in): a few steps at a time, which stay in the cache."""
    bound: Operation = made.bind(lambda array: array.astype(np.float64))
    entering = x.detach().numpy()
    result = np.empty((*entering.shape[:2], *made.output_shape(entering.shape[2:])))
    for start in range(0, len(result), PIECE):
        result[start : start + PIECE] = bound.step(np, {}, entering[start : start + PIECE])[1]
    return result


def _linear(linear: nn.Linear, entering: float, factor: float) -> tuple[Tensor, Tensor]:
    """Weight and bias in integers' units."""
    return linear.weight.double() * factor / entering, linear.bias.double() * factor


def _folded(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """gain and shift of a BatchNorm at its stored statistics, as stripping folds them."""
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return gain, norm.bias.double() - gain * norm.running_mean.double()


def _of(table: Mapping[str, Found], layer: str) -> Found:
    """What scales hold for a layer, its number aside: n02_block0_ssm is block0_ssm."""
    for name, found in table.items():
        if name.partition("_")[2] == layer:
            return found
    raise BadInput("scales", f"hold nothing for layer {layer}: they are of another network")
