"""The papers' networks as their own code computes them, written from its equations: an oracle for imports."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikestrip.draws import draw_sequence


def parameter(*shape: int, low: float = -1, high: float = 1) -> nn.Parameter:
    return nn.Parameter(torch.empty(*shape).uniform_(low, high))


class S4DKernel(nn.Module):
    """B = 1, zero-order hold, and a Vandermonde matrix that holds every power."""

    def __init__(self, width: int, modes: int, channels: int = 1) -> None:
        super().__init__()
        self.C = parameter(channels, width, modes, 2)
        self.log_dt = parameter(width, low=-4, high=-1)
        self.log_A_real = parameter(width, modes)
        self.A_imag = parameter(width, modes, low=0, high=9)

    def forward(self, length: int) -> Tensor:
        c = torch.view_as_complex(self.C)[0]
        a = torch.complex(-self.log_A_real.exp(), self.A_imag)
        dta = a * self.log_dt.exp()[:, None]
        power = (dta[..., None] * torch.arange(length)).exp()
        return 2 * torch.einsum("hn,hnl->hl", c * (dta.exp() - 1) / a, power).real


LIMITS = {"omega_min": 1e-6, "omega_max": 2.0, "eta_min": 0.1, "eta_max": 3.0}


class LoongSpikeKernel(S4DKernel):
    """LongSpike's: each mode ``terms`` times, moved by omega and scaled by eta, and its epsilon in the division."""

    def __init__(self, width: int, modes: int, terms: int = 2, learned: bool = True) -> None:
        super().__init__(width, modes)
        if learned:
            self.omega_logit, self.eta_logit = parameter(terms), parameter(terms)
        else:
            self.register_buffer("omega", torch.linspace(0, 0.3, terms))
            self.register_buffer("eta", torch.linspace(0.7, 0.3, terms))

    def fractions(self) -> tuple[Tensor, Tensor]:
        if hasattr(self, "omega"):
            return self.omega, self.eta
        low = (LIMITS["omega_min"], LIMITS["eta_min"])
        high = (LIMITS["omega_max"], LIMITS["eta_max"])
        logits = (self.omega_logit, self.eta_logit)
        return tuple(a + torch.sigmoid(x) * (b - a) for a, b, x in zip(low, high, logits, strict=True))

    def forward(self, length: int) -> Tensor:
        c = torch.view_as_complex(self.C)[0]
        a = torch.complex(-self.log_A_real.exp(), self.A_imag)
        total = torch.zeros(len(c), length, dtype=c.real.dtype)
        for omega, eta in zip(*self.fractions(), strict=True):
            moved = eta * a - omega
            dta = moved * self.log_dt.exp()[:, None]
            power = (dta[..., None] * torch.arange(length)).exp()
            total += 2 * torch.einsum("hn,hnl->hl", eta * c * (dta.exp() - 1) / (moved + 1e-8), power).real
        return total


class SSMKernelDiag(nn.Module):
    """The S4 code's kernel with its own B, of which ``copies`` systems are shared by all channels in turn."""

    def __init__(self, width: int, modes: int, copies: int, disc: str, dt_transform: str) -> None:
        super().__init__()
        self.C, self.B = parameter(1, width, modes, 2), parameter(1, copies, modes, 2)
        self.inv_dt = parameter(width, 1, low=-4, high=-1)
        self.A_real, self.A_imag = parameter(copies, modes), parameter(copies, modes, low=0, high=9)
        self.disc, self.dt_transform = disc, dt_transform

    def forward(self, length: int) -> Tensor:
        width = self.C.shape[1]
        index = torch.arange(width) % self.A_real.shape[0]
        a = torch.complex(-self.A_real.exp(), -self.A_imag)[index]
        b = torch.view_as_complex(self.B)[0, index]
        dt = self.inv_dt.exp() if self.dt_transform == "exp" else F.softplus(self.inv_dt)
        if self.disc == "zoh":
            bar, factor = (dt * a).exp(), ((dt * a).exp() - 1) / a
        else:
            bar, factor = (1 + dt * a / 2) / (1 - dt * a / 2), dt / (1 - dt * a / 2)
        c = torch.view_as_complex(self.C)[0] * b * factor
        return 2 * torch.einsum("hn,hnl->hl", c, bar[..., None] ** torch.arange(length)).real


def convolve(x: Tensor, kernel: Tensor, d: Tensor) -> Tensor:
    length = x.shape[-1]
    product = torch.fft.rfft(x, n=2 * length) * torch.fft.rfft(kernel, n=2 * length)
    return torch.fft.irfft(product, n=2 * length)[..., :length] + d[0][:, None] * x


def hard_reset(x: Tensor, tau: float) -> Tensor:
    u, spikes = torch.zeros_like(x[..., 0]), []
    for column in x.unbind(-1):
        u = tau * u + column
        spikes.append((u >= 1).to(x))
        u = u * (1 - spikes[-1])
    return torch.stack(spikes, -1)


def guessed(model: nn.Module, z: Tensor) -> Tensor:
    """The default neuron: H(q + z - 1), each channel of each sequence a row of the surrogate."""
    rows = z.flatten(0, 1)
    return (model(rows[:, None]) + rows >= 1).to(z).view_as(z)


class SS4D(nn.Module):
    def __init__(self, width: int, kernel: nn.Module, vth: str) -> None:
        super().__init__()
        self.D = parameter(1, width, low=0, high=2)
        if vth != "fixed":
            self.ln_vth = parameter(*((width, 1) if vth == "own" else (1,)), low=-1, high=0.3)
        self.kernel = kernel
        self.output_linear = nn.Sequential(nn.Conv1d(width, 2 * width, 1), nn.GLU(dim=-2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = convolve(x, self.kernel(x.shape[-1]), self.D)
        z = y / self.ln_vth.exp() if hasattr(self, "ln_vth") else y
        spikes = guessed(self.neuron.model, z) if hasattr(self, "neuron") else hard_reset(z, 0.3)
        return self.output_linear(spikes), spikes


def make_norm(kind: str, width: int) -> nn.Module:
    norm = nn.LayerNorm(width) if kind == "layer" else nn.BatchNorm1d(width)
    for name, value in norm.state_dict().items():
        if value.is_floating_point():
            value.uniform_(*((0.5, 2) if name in ("weight", "running_var") else (-0.5, 0.5)))
    return norm


def normed(norm: nn.Module, x: Tensor) -> Tensor:
    return norm(x) if isinstance(norm, nn.BatchNorm1d) else norm(x.mT).mT


class SpikingSSM(nn.Module):
    def __init__(self, layers: list[SS4D], norm: str, prenorm: bool, width: int) -> None:
        super().__init__()
        self.prenorm = prenorm
        self.s4_layers = nn.ModuleList(layers)
        self.norms = nn.ModuleList(make_norm(norm, width) for _ in layers)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        trains = []
        for layer, norm in zip(self.s4_layers, self.norms, strict=True):
            z, spikes = layer(normed(norm, x) if self.prenorm else x)
            x = x + z  # without prenorm the norm's output is not used
            trains.append(spikes)
        return x, trains


class Sampled(nn.Module):
    """SequenceResidualBlock around an S4Block, causal, residual "R", or none."""

    def __init__(
        self, width: int, kernel: nn.Module, norm: str, prenorm: bool, gelu: bool, index: int, residual: bool = True
    ) -> None:
        super().__init__()
        self.prenorm, self.gelu, self.index, self.residual = prenorm, gelu, index, residual
        for name in ("inp_a", "inp2_a", "out_a"):
            setattr(self, name, parameter(width, low=0.5, high=1.5))
        for name in ("inp_b", "inp2_b", "out_b"):
            setattr(self, name, parameter(width, low=-0.2, high=0.4))
        self.layer, self.layer.layer, self.norm = nn.Module(), nn.Module(), nn.Module()
        self.layer.layer.kernel, self.layer.layer.D = kernel, parameter(1, width)
        self.layer.output_linear = nn.Sequential(nn.Linear(width, 2 * width), nn.GLU())  # never called
        self.bidirectional_linear1 = nn.Linear(width, width)
        self.norm.norm = make_norm(norm, width)

    def sample(self, p: Tensor, number: int) -> Tensor:
        rows, width, length = p.shape
        sample, neuron = torch.arange(rows)[:, None], torch.arange(width)[None]
        return (p > draw_sequence(torch, 0, number, sample, neuron, length) / 2**24).to(p)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        p = self.inp_a[:, None] * x + self.inp_b[:, None]
        sampled = self.sample(normed(self.norm.norm, p) if self.prenorm else p, 2 * self.index)
        z = convolve(sampled, self.layer.layer.kernel(x.shape[-1]), self.layer.layer.D)
        z = F.gelu(z) if self.gelu else z
        fired = self.sample(self.out_a[:, None] * z + self.out_b[:, None], 2 * self.index + 1)
        mixed = F.gelu(self.bidirectional_linear1(fired.mT)).mT
        x = x + mixed if self.residual else mixed
        return (x if self.prenorm else normed(self.norm.norm, x)), [sampled, fired]


class PSpikeSSM(nn.Module):
    def __init__(self, layers: list[Sampled], norm: str, prenorm: bool, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        if prenorm:
            self.norm = nn.Module()
            self.norm.norm = make_norm(norm, width)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        trains = []
        for layer in self.layers:
            x, fired = layer(x)
            trains += fired
        return (normed(self.norm.norm, x) if hasattr(self, "norm") else x), trains


class Classifier(nn.Module):
    """SequenceLightningModule: encoder, backbone, and SequenceDecoder of mode "pool"."""

    def __init__(self, encoder: nn.Module, model: nn.Module, width: int) -> None:
        super().__init__()
        self.encoder, self.model = nn.Sequential(encoder), model
        head = nn.Module()
        head.output_transform = nn.Linear(width, 4)
        self.decoder = nn.Sequential(head)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        x, trains = self.model(self.encoder(x).mT)
        return self.decoder[0].output_transform(x.mean(-1)), trains


class AdaptiveEmbedding(nn.Module):
    def __init__(self, cutoffs: list[int], width: int, narrower: int) -> None:
        super().__init__()
        sizes = [end - begin for begin, end in zip([0, *cutoffs], cutoffs, strict=False)]
        self.ends, self.width = cutoffs, width
        if narrower == 1:
            self.emb_layers = nn.ModuleList([nn.Embedding(cutoffs[-1], width)])
            return
        widths = [width // narrower**place for place in range(len(sizes))]
        self.emb_layers = nn.ModuleList(nn.Embedding(*pair) for pair in zip(sizes, widths, strict=True))
        self.emb_projs = nn.ParameterList(parameter(width, each) for each in widths)

    def forward(self, tokens: Tensor) -> Tensor:
        if len(self.emb_layers) == 1:
            return self.emb_layers[0](tokens) * self.width**0.5
        rows = []
        for token in tokens.flatten().tolist():
            place = next(place for place, end in enumerate(self.ends) if token < end)
            row = self.emb_layers[place].weight[token - [0, *self.ends][place]]
            rows.append(self.emb_projs[place] @ row * self.width**0.5)
        return torch.stack(rows).unflatten(0, tokens.shape)


class AdaptiveSoftmax(nn.Module):
    """ProjectedAdaptiveLogSoftmax, tied to an embedding; projections are shared from the second on."""

    def __init__(self, embedding: AdaptiveEmbedding) -> None:
        super().__init__()
        tables = [layer.weight for layer in embedding.emb_layers]
        self.cluster_weight = parameter(len(embedding.ends) - 1, tables[0].shape[1])
        self.cluster_bias = parameter(len(embedding.ends) - 1)
        self.out_layers_biases = nn.ParameterList(parameter(len(table)) for table in tables)
        self.out_projs = nn.ParameterList()
        if len(tables) > 1:
            self.out_projs.append(parameter(embedding.width, embedding.width))
        self.shared = [[*tables], [*getattr(embedding, "emb_projs", [])], embedding.ends]

    def log_probabilities(self, hidden: Tensor) -> Tensor:
        """Of every token, (B, T, V)."""
        tables, projections, ends = self.shared
        count = len(ends) - 1
        first = self.out_projs[0] if len(self.out_projs) else torch.eye(hidden.shape[-1]).to(hidden)
        if len(tables) == 1:
            whole = hidden @ tables[0].T + self.out_layers_biases[0]
            tails = [whole[..., ends[i] : ends[i + 1]] for i in range(count)]
            head = whole[..., : ends[0]]
        else:
            head = hidden @ first @ tables[0].T + self.out_layers_biases[0]
            tails = [hidden @ projections[i] @ tables[i].T + self.out_layers_biases[i] for i in range(1, count + 1)]
        clusters = hidden @ first @ self.cluster_weight.T + self.cluster_bias
        head = torch.cat((head, clusters), -1).log_softmax(-1)
        parts = [head[..., : ends[0]]]
        parts += [head[..., -i, None] + tail.log_softmax(-1) for i, tail in enumerate(tails, 1)]
        return torch.cat(parts, -1)


class LanguageModel(nn.Module):
    """SequenceLightningModule of an AdaptiveLMTask: the loss is registered twice."""

    def __init__(self, cutoffs: list[int], model: nn.Module, width: int, narrower: int) -> None:
        super().__init__()
        embedding = AdaptiveEmbedding(cutoffs, width, narrower)
        self.encoder, self.model = nn.Sequential(embedding), model
        self.loss = self.loss_val = AdaptiveSoftmax(embedding)

    def forward(self, tokens: Tensor) -> tuple[Tensor, list[Tensor]]:
        x, trains = self.model(self.encoder(tokens).mT)
        return self.loss.log_probabilities(x.mT), trains


class ShippedSDN(nn.Module):
    """The surrogate as the repository ships it and its networks hold it: 153 numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = nn.Conv1d(1, 8, 8, padding=8), nn.Conv1d(8, 8, 1), nn.Conv1d(8, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.conv1(x)[..., : x.size(-1)])
        return self.conv3(F.relu(self.conv2(h) + h)).squeeze(1)


class SDN(nn.Module):
    """The official surrogate, as it is trained, or ``fused``."""

    def __init__(self, fused: bool = False) -> None:
        super().__init__()
        self.encoder = nn.Conv1d(1, 8, 1, bias=False)
        spatial, feature = nn.Conv1d(1 if fused else 8, 8, 8, padding=8, groups=1 if fused else 8), nn.Conv1d(8, 8, 1)
        parts = (
            [spatial, feature] if fused else [nn.Sequential(part, make_norm("batch", 8)) for part in (spatial, feature)]
        )
        self.spatial_layers, self.feature_layers = nn.ModuleList(parts[:1]), nn.ModuleList(parts[1:])
        self.decoder = nn.Conv1d(8, 1, 1)
        self.fused = fused

    def forward(self, x: Tensor) -> Tensor:
        length = x.size(-1)
        if not self.fused:
            x = self.encoder(x)
        for spatial, feature in zip(self.spatial_layers, self.feature_layers):  # noqa: B905 - TorchScript has no strict
            x = F.relu(spatial(x)[..., :length])
            x = F.relu(feature(x) + x)
        return self.decoder(x).squeeze()
