"""The block of P-SpikeSSM (Bal and Sengupta, ICLR 2025), in our reading: see train.neurons.bernoulli."""

from __future__ import annotations

from torch import Tensor, nn

from train.config import Config
from train.neurons.bernoulli import FuseClamp, SpikeMixer, SpikeSampler
from train.norms import make_dropout, normalise
from train.ssm import S4D


class ProbabilisticBlock(nn.Module):
    """s = SpikeSampler(x);  z = S4D(s);  s' = SpikeSampler(z);  m = SpikeMixer(s');  x' = FuseClamp(x, m).

    With ``ssm_activation`` "gelu", as in the public fork, s' = SpikeSampler(GELU(z)).

    Streams are (B, H, L).
    Without ``residual``, as in an experiment of the fork, x' = norm(m).
    ``index``: the block's place in the network; its samplers draw under the numbers 2*index and 2*index + 1.
    ``mix`` "linear" is the paper's mixer, GELU(W s' + b); "glu" gates in place of the GELU.
    """

    def __init__(self, config: Config, index: int) -> None:
        super().__init__()
        width = config.d_model
        self.config = config
        self.sample = SpikeSampler(width, 2 * index, config.gain)
        self.ssm = S4D(width, 2 * config.d_state, init=config.ssm_init, rule=config.ssm_rule)
        self.activation = nn.GELU() if config.ssm_activation == "gelu" else nn.Identity()
        self.fire = SpikeSampler(width, 2 * index + 1, config.gain)
        self.mixer = SpikeMixer(width, "glu" if config.mix == "glu" else "gelu")
        self.dropout = make_dropout(config.dropout, config.tie_dropout)
        self.fuse = FuseClamp(width, config.norm)

    def forward(self, x: Tensor, first_sample: int = 0) -> tuple[Tensor, list[Tensor]]:
        """(B, H, L) -> the block's output (B, H, L), and the spikes (B, H, L) of its two samplers.

        The rows of the batch are the samples first_sample, first_sample + 1, ...
        """
        sampled = self.sample(x, self.config.seed, first_sample)
        fired = self.fire(self.activation(self.ssm(sampled)), self.config.seed, first_sample)
        mixed = self.dropout(self.mixer(fired))
        return (self.fuse(x, mixed) if self.config.residual else normalise(self.fuse.norm, mixed)), [sampled, fired]
