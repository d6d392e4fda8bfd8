"""The networks: encoder, blocks, head.

A block is S4D -> spiking neuron -> mix, with a residual (SpikingSSM, Shen et al. 2024, arXiv:2408.14909; SPikE-SSM with
another neuron), or that of P-SpikeSSM (train.pspikessm).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.config import Config
from train.neurons.bits import Bits
from train.neurons.methods import default_method, spikes
from train.neurons.neuron import Neuron
from train.neurons.sdn import Surrogate
from train.norms import make_dropout, make_norm, normalise, over_channels
from train.pspikessm import ProbabilisticBlock
from train.ssm import S4D


class SpikingNeuron(nn.Module):
    """A layer of H neurons, computed over the whole sequence by ``method``, None for the fastest exact one on the
    device of its input; ``sdn`` stands in for the shipped SDN.

    The threshold is exp(ln_vth), learned or fixed at 1; the refractory decay sigmoid(logit_tau_r) and strength
    Uth = exp(ln_uth) >= 0.
    """

    ln_vth: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.method: str | None = config.parallel
        self.sdn: Surrogate | None = None
        if config.learn_threshold:
            self.ln_vth = nn.Parameter(torch.zeros(config.d_model))
        else:
            self.register_buffer("ln_vth", torch.zeros(config.d_model))
        if config.reset == "refractory":
            odds = config.tau_r / (1 - config.tau_r)
            self.logit_tau_r = nn.Parameter(torch.full((config.d_model,), math.log(odds)))
            self.ln_uth = nn.Parameter(torch.full((config.d_model,), math.log(config.uth)))

    def neuron(self, dtype: torch.dtype) -> Neuron:
        """The neuron's parameters in ``dtype``, derived in float64."""
        if self.config.reset == "none":
            raise ValueError("a network whose spikes are drawn has no such neuron")
        refractory = self.config.reset == "refractory"
        return Neuron(
            reset=self.config.reset,
            tau=torch.full((), self.config.tau, dtype=dtype, device=self.ln_vth.device),  # no copy to wait for
            vth=self.ln_vth.double().exp().to(dtype),
            tau_r=self.logit_tau_r.double().sigmoid().to(dtype) if refractory else None,
            uth=self.ln_uth.double().exp().to(dtype) if refractory else None,
            surrogate=self.config.surrogate,
        )

    @property
    def fused(self) -> bool:
        """Whether it is computed together with the S4D before it: its streams are then (B, L, H) in memory."""
        return self.method == "fused"

    def forward(self, x: Tensor) -> Tensor:
        options: dict[str, Any] = {}
        if self.method == "pmbc" and self.config.pmbc_iterations:
            options["iterations"] = self.config.pmbc_iterations
        if self.method == "sdn":
            options["surrogate"] = self.sdn
        return spikes(x, self.neuron(x.dtype), self.method or default_method(x.device), **options)


class Block(nn.Module):
    """x -> [norm] -> S4D -> neuron -> [dropout] -> mix -> dropout -> + x -> [norm], on (B, H, L).

    SpikingSSM's published block has mix "glu", ``tie_dropout``, ``drop_spikes``, and a LayerNorm with ``prenorm``.
    Where it has no prenorm, its code computes the norm after the sum and throws the result away: that is norm "none"
    here, while "batch" and "layer" are really applied.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.d_model
        self.config = config
        self.ssm = S4D(width, 2 * config.d_state, init=config.ssm_init, rule=config.ssm_rule)
        self.neuron = SpikingNeuron(config)
        self.mix = nn.Linear(width, 2 * width if config.mix == "glu" else width)
        self.dropout = make_dropout(config.dropout, config.tie_dropout)
        self.norm = make_norm(config.norm, width)

    def whole(self, x: Tensor) -> bool:
        """Whether a training step computes all of the block as one compiled function, for streams like x (B, H, L)."""
        if not self.neuron.fused or self.config.prenorm or self.config.drop_spikes:
            return False
        from train import fused  # numba

        return fused.holds(self.mix, self.norm, self.dropout, x)

    def forward(self, x: Tensor, first_sample: int = 0) -> tuple[Tensor, Sequence[Tensor | Bits]]:
        """(B, H, L) -> the block's output (B, H, L) and its spikes (B, H, L); the samples' numbers don't matter."""
        z = normalise(self.norm, x) if self.config.prenorm else x
        if self.neuron.fused:
            from train import fused  # numba

            neuron = self.neuron.neuron(z.dtype)
            if self.whole(z):
                out, bits = fused.block(z, self.ssm, neuron, self.mix, self.norm, self.dropout)
                return out, [bits]
            fired, same = fused.spikes(z, self.ssm, neuron)
            x = x if self.config.prenorm else same
        else:
            fired = self.neuron(self.ssm(z))
        z = self.dropout(fired) if self.config.drop_spikes else fired
        z = self.mix(z.transpose(1, 2)).transpose(1, 2) if self.neuron.fused else over_channels(self.mix, z)
        if self.config.mix == "glu":
            z = F.glu(z, dim=1)
        x = x + self.dropout(z)
        return (x if self.config.prenorm else normalise(self.norm, x)), [fired]


class Network(nn.Module):
    """Encoder -> blocks -> head -> readout. Parallel over time.

    ``sdn``: the surrogate that ``parallel`` "sdn" uses; None takes the one that is shipped for the neuron.
    """

    blocks: Sequence[Block | ProbabilisticBlock]
    sdn: Surrogate | None = None

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.encoder = nn.Linear(config.d_input, config.d_model)
        self.blocks = nn.ModuleList(  # type: ignore[assignment]
            ProbabilisticBlock(config, index) if config.model == "pspikessm" else Block(config)
            for index in range(config.layers)
        )
        self.head = nn.Linear(config.d_model, config.d_output)

    def set_parallel(self, method: str) -> None:
        """Compute the spikes by ``method`` from now on."""
        self.config = dataclasses.replace(self.config, parallel=method)
        for module in self.modules():
            if isinstance(module, SpikingNeuron):
                module.method = method

    def compiled(self) -> bool:
        """Whether a training step is compiled loops for nearly all of its time: every block as one function."""
        x = self.encoder.weight.new_empty(2, self.config.d_model, 1)
        return all(isinstance(block, Block) and block.whole(x) for block in self.blocks)

    def set_surrogate(self, surrogate: Surrogate) -> None:
        """Use ``surrogate`` wherever spikes are computed by "sdn". Raises Refused if it's one of another neuron."""
        surrogate.check(self.config.reset, self.config.tau)
        self.sdn = surrogate
        for module in self.modules():
            if isinstance(module, SpikingNeuron):
                module.sdn = surrogate

    def forward(self, x: Tensor, first_sample: int = 0) -> tuple[Tensor, Sequence[Tensor | Bits]]:
        """x: (B, L, d_input), or token ids (B, L) or (B, L, 1) if ``tokens``.

        The rows are the samples first_sample, first_sample + 1, ...: random spikes are drawn by that number.
        Returns logits, (B, d_output) for a mean-pool readout or (B, L, d_output), and the spikes (B, H, L) of each
        spiking layer: in training by ``fused`` they are Bits.
        """
        fused = all(isinstance(block, Block) and block.neuron.fused for block in self.blocks)
        if self.config.tokens:
            ids = x[..., 0] if x.ndim == 3 else x
            x = (F.embedding(ids, self.encoder.weight.T) + self.encoder.bias).transpose(1, 2)
            x = x if fused else x.contiguous()
        elif fused:
            x = self.encoder(x).transpose(1, 2)
        else:
            x = over_channels(self.encoder, x.transpose(1, 2))
        trains: list[Tensor | Bits] = []
        for block in self.blocks:
            x, fired = block(x, first_sample)
            trains += fired
        if self.config.readout == "mean":
            return self.head(x.sum(dim=-1) / x.shape[-1]), trains  # a mean's gradient would take memory like x's
        return self.head(x.transpose(1, 2)), trains
