"""The networks of SDN: as it is trained, with BatchNorm, and folded, as convolutions and as matrix products."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikestrip.errors import BadInput

CHANNELS = 8
STEPS = 8  # the network sees x[t-8..t-1]
BLOCK = 16384  # columns of one matrix product on a CPU: its operands stay in cache


class SDN(nn.Module):
    """The network as it is trained: 193 parameters, BatchNorm after each of the two inner convolutions.

    q = w3 . relu(BN(W2 h) + h) + b3,  h = relu(BN(W1 * (w0 x)))    (W1: depthwise, causal, 8 taps; W2: 1x1)

    Takes x/vth (N, L), gives q (N, L).
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv1d(1, CHANNELS, 1, bias=False)
        self.spatial = nn.Conv1d(CHANNELS, CHANNELS, STEPS, groups=CHANNELS)
        self.spatial_norm = nn.BatchNorm1d(CHANNELS)
        self.feature = nn.Conv1d(CHANNELS, CHANNELS, 1)
        self.feature_norm = nn.BatchNorm1d(CHANNELS)
        self.decoder = nn.Conv1d(CHANNELS, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        # one column before the last STEPS inputs: the step itself is not seen
        h = self.encoder(F.pad(x, (STEPS, 0))[:, None, :-1])
        h = F.relu(self.spatial_norm(self.spatial(h)))
        h = F.relu(self.feature_norm(self.feature(h)) + h)
        return self.decoder(h)[:, 0]

    @torch.no_grad()
    def fold(self) -> Folded:
        """The same function of the running statistics with 153 parameters: norms (with their eps), encoder and the
        skip connection folded into the convolutions."""
        folded = Folded().to(self.encoder.weight)
        scale, shift = _affine(self.spatial_norm)
        folded.w1.copy_(self.spatial.weight[:, 0] * self.encoder.weight[:, 0] * scale[:, None])
        folded.b1.copy_(_bias(self.spatial) * scale + shift)
        scale, shift = _affine(self.feature_norm)
        folded.w2.copy_(self.feature.weight[:, :, 0] * scale[:, None] + torch.eye(CHANNELS).to(scale))
        folded.b2.copy_(_bias(self.feature) * scale + shift)
        folded.w3.copy_(self.decoder.weight[:, :, 0])
        folded.b3.copy_(_bias(self.decoder))
        return folded


class Folded(nn.Module):
    """The network as it is run: q = w3 relu(w2 relu(w1 [x[t-8] .. x[t-1]] + b1) + b2) + b3."""

    def __init__(self) -> None:
        super().__init__()
        self.w1 = nn.Parameter(torch.zeros(CHANNELS, STEPS))
        self.b1 = nn.Parameter(torch.zeros(CHANNELS))
        self.w2 = nn.Parameter(torch.zeros(CHANNELS, CHANNELS))
        self.b2 = nn.Parameter(torch.zeros(CHANNELS))
        self.w3 = nn.Parameter(torch.zeros(1, CHANNELS))
        self.b3 = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """x/vth (N, L) -> q (N, L), by convolutions, as published."""
        h = F.relu(F.conv1d(F.pad(x, (STEPS, 0))[:, None, :-1], self.w1[:, None], self.b1))
        h = F.relu(F.conv1d(h, self.w2[:, :, None], self.b2))
        return F.conv1d(h, self.w3[:, :, None], self.b3)[:, 0]

    def columns(self, windows: Tensor) -> Tensor:
        """windows (8, M), row k holding x[t-8+k] of M steps -> q (M,), by three matrix products."""
        h = torch.addmm(self.b1[:, None], self.w1, windows).relu_()
        h = torch.addmm(self.b2[:, None], self.w2, h).relu_()
        return torch.addmm(self.b3[:, None], self.w3, h)[0]

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """The same as ``forward``, unfolded to matrix products over blocks of rows and steps, without gradient."""
        rows, length = x.shape
        block = BLOCK if x.device.type == "cpu" else BLOCK * 256
        width = min(length, block)
        height = max(1, block // width)
        padded = F.pad(x, (STEPS, 0))
        q = torch.empty_like(x)
        for i in range(0, rows, height):
            for j in range(0, length, width):
                part = padded[i : i + height, j : j + width + STEPS]
                steps = part.shape[1] - STEPS
                taps = torch.stack([part[:, k : k + steps] for k in range(STEPS)])
                q[i : i + height, j : j + width] = self.columns(taps.view(STEPS, -1)).view(-1, steps)
        return q


def _affine(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """BatchNorm1d in evaluation as y*scale + shift."""
    if norm.running_mean is None or norm.running_var is None:
        raise BadInput("sdn", "BatchNorm without running statistics can't be folded")
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def _bias(convolution: nn.Conv1d) -> Tensor:
    return convolution.bias if convolution.bias is not None else torch.zeros(1)
