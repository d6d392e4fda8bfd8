"""Layers and functions of plain torch as programs: the module's own output in float64, or a refusal by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from convert import from_torch
from simulators.backends.numpy import NumpyBackend
from spikestrip.errors import BadInput, Refused
from spikestrip.operations import MaxPool2d, Pad, Reshape
from spikestrip.program import Program

pytestmark = pytest.mark.filterwarnings("ignore")


def run(program: Program, x: Tensor, dtype: str = "float64") -> np.ndarray:
    return NumpyBackend().run(program, x.numpy(), dtype, "cpu", lambda _: None).output  # type: ignore[arg-type]


def assert_equal(module: nn.Module, *shape: int) -> Program:
    torch.manual_seed(0)
    module = module.double().eval()
    x = torch.randn(3, 2, *shape).double()
    program = from_torch(module, x[:, 0])
    with torch.no_grad():
        expected = torch.stack([module(x[:, t]) for t in range(2)], dim=1).numpy()
    np.testing.assert_allclose(run(program, x), expected, rtol=1e-10, atol=1e-12)
    return program


LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "max": (nn.MaxPool2d(3, 2, 1), (2, 7, 6)),
    "max, ceil": (nn.MaxPool2d(2, ceil_mode=True), (2, 7, 5)),
    "max, ceil, no window in the padding": (nn.MaxPool2d(3, 2, 1, ceil_mode=True), (1, 4, 5)),
    "max, ceil, dilation": (nn.MaxPool2d(3, (2, 1), 1, dilation=2, ceil_mode=True), (2, 9, 10)),
    "max of a row": (nn.MaxPool1d(3, 2, 1), (2, 8)),
    "max of a row, ceil": (nn.MaxPool1d(3, 2, ceil_mode=True), (2, 8)),
    "mean of a row": (nn.AvgPool1d(3, 2, 1), (2, 8)),
    "adaptive": (nn.AdaptiveAvgPool2d((2, 3)), (2, 4, 6)),
    "adaptive, one axis kept": (nn.AdaptiveAvgPool2d((None, 2)), (3, 6, 4)),
    "global": (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), (2, 4, 6)),
    "adaptive row": (nn.AdaptiveAvgPool1d(2), (3, 6)),
    "adaptive max": (nn.AdaptiveMaxPool2d(2), (3, 6, 4)),
    "adaptive max row": (nn.AdaptiveMaxPool1d(2), (3, 6)),
    "transposed": (nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2), (4, 5, 4)),
    "transposed, as large as its stride": (nn.ConvTranspose2d(2, 3, 2, 2, bias=False), (2, 3, 3)),
    "transposed row": (nn.ConvTranspose1d(3, 2, 4, 2, 1), (3, 6)),
    "transposed, dilated": (nn.ConvTranspose1d(3, 2, 3, dilation=2), (3, 6)),
    "upsample": (nn.Upsample(scale_factor=2), (2, 3, 3)),
    "upsample to": (nn.Upsample(size=(6, 9)), (2, 3, 3)),
    "upsample 2d": (nn.UpsamplingNearest2d(scale_factor=3), (2, 3, 2)),
    "norm": (nn.LayerNorm(5), (5,)),
    "norm of a frame": (nn.LayerNorm((2, 3, 4)), (2, 3, 4)),
    "norm without bias": (nn.LayerNorm(5, bias=False), (5,)),
    "gelu": (nn.GELU(), (5,)),
    "glu": (nn.GLU(), (6,)),
    "hardtanh": (nn.Hardtanh(-0.5, 0.5), (5,)),
    "relu6": (nn.ReLU6(), (5,)),
    "zero pad": (nn.ZeroPad2d((1, 2, 0, 3)), (2, 3, 3)),
    "unflatten": (nn.Unflatten(1, (2, -1)), (6,)),
    "in place, which nobody else reads": (nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True)), (4,)),
    "parametrised": (
        nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 3)), parametrizations.spectral_norm(nn.Linear(3, 3))),
        (4,),
    ),
    "lone and parametrised": (parametrizations.orthogonal(nn.Linear(4, 4)), (4,)),
    "old norms": (nn.Sequential(weight_norm(nn.Conv1d(2, 3, 3)), spectral_norm(nn.Conv1d(3, 2, 1))), (2, 6)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str) -> None:
    assert_equal(*LAYERS[name][:1], *LAYERS[name][1])


def test_pruned_layers_hold_what_is_left_and_stay_pruned() -> None:
    layer = nn.Linear(4, 6)
    prune.l1_unstructured(layer, "weight", 0.5)
    prune.random_unstructured(layer, "weight", 0.3)
    program = assert_equal(nn.Sequential(nn.ReLU(), layer), 4)
    weight = program["n01_1"].operation.arrays()["weight"]
    assert np.count_nonzero(weight) == int(layer.weight_mask.sum()) < 12
    assert prune.is_pruned(layer)


def test_lazy_layers_after_their_first_run() -> None:
    module = nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d())
    with pytest.raises(Refused, match=r"^0: is a LazyLinear that has not run"):
        from_torch(module.eval(), torch.randn(2, 4))
    module.train()(torch.randn(5, 4))
    assert_equal(module, 4)


class Functions(nn.Module):
    """Most of what a forward calls besides its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 3, 3), nn.Linear(3, 3)
        self.gain = nn.Parameter(torch.rand(3))
        self.register_buffer("shift", torch.rand(3))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.max_pool2d(functional.relu(self.conv(x), inplace=True), 2)
        y = functional.dropout(functional.gelu(functional.avg_pool2d(y, 2)), 0.5, self.training)
        flat = functional.adaptive_avg_pool2d(y, (1, 1)).view(y.size(0), -1)
        normed = functional.layer_norm(flat, (3,), self.gain, self.shift)
        scaled = 3 * (normed.reshape(x.shape[0], 3) * self.gain) * torch.sigmoid(self.gain) / 2
        y = torch.cat([scaled - flat, -flat], dim=1).unsqueeze(1).squeeze(1).view(-1, 2, 3)
        y = functional.linear(y, self.fc.weight, self.fc.bias).flatten(1)
        return functional.pad(torch.clamp(y, 0, 1), (1, 0))


def test_functions() -> None:
    program = assert_equal(Functions(), 1, 10, 10)
    assert {"max_pool2d", "gelu", "layer_norm", "pad", "scale", "join"} <= {
        layer.operation.kind for layer in program.layers
    }


def forward(function: Callable[..., Tensor], shape: tuple[int, ...] = (4,)) -> tuple[nn.Module, tuple[int, ...]]:
    class Custom(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return function(self, x)

    return Custom(), shape


REFUSED: dict[str, tuple[tuple[nn.Module, tuple[int, ...]], str]] = {
    "softmax": ((nn.Softmax(1), (4,)), "0: is a Softmax, .*leave it out"),
    "sizes that don't fit": ((nn.AdaptiveAvgPool2d(3), (1, 4, 4)), "0: makes 3 of 4 values"),
    "indices": ((nn.MaxPool2d(2, return_indices=True), (1, 4, 4)), "0: returns indices"),
    "norm of rows": ((nn.LayerNorm(3), (2, 3)), "0: normalises"),
    "other gelu": ((nn.GELU("tanh"), (3,)), "0: has approximate='tanh'"),
    "cropping": ((nn.ConvTranspose1d(1, 1, 2, 1, 2), (1, 6)), "0: crops"),
    "bilinear": ((nn.Upsample(scale_factor=2, mode="bilinear"), (1, 4, 4)), "0: has mode 'bilinear'"),
    "part of a value": ((nn.Upsample(scale_factor=1.5), (1, 4, 4)), "0: makes 1.5 of one value"),
    "padding with ones": ((nn.ConstantPad1d(1, 1.0), (1, 4)), "0: pads with 1.0"),
    "wrapped": ((nn.DataParallel(nn.Linear(4, 4)), (4,)), "0: is a DataParallel, .*its .module"),
    "compiled": ((nn.Sequential(torch.compile(nn.Linear(4, 4))), (4,)), "0: is compiled .*_orig_mod"),
    "quantised": (
        (torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 4))), (4,)),
        "0: is a Linear, which is quantised: give the float network",
    ),
    "spectral norm in training": (
        (nn.Sequential(parametrizations.spectral_norm(nn.Linear(4, 4))).train(), (4,)),
        "0: .*training mode",
    ),
    "two streams": (forward(lambda self, x: self.fc(x) * x), "module: multiplies two streams"),
    "by a stream": (forward(lambda self, x: self.fc(x) / x), "module: divides by a stream"),
    "a constant": (forward(lambda self, x: self.fc(x) + self.fc.bias), "module: takes 'fc_bias', a constant"),
    "batch by number": (forward(lambda self, x: self.fc(x).view(3, 4)), r"module: calls view\(\) with 3 for the batch"),
    "samples mixed": (forward(lambda self, x: self.fc(x).view(-1, 8)), r"module: calls view\(\) so that samples"),
    "cat of the batch": (forward(lambda self, x: torch.cat([x, x])), r"module: calls cat\(\) along axis 0"),
    "dropout in training": (
        forward(lambda self, x: functional.dropout(self.fc(x))),
        "module: is in training mode",
    ),
    "in place": (
        forward(lambda self, x: functional.relu(x, inplace=True) + x),
        r"module: calls relu\(\), which changes in place what 'x' holds",
    ),
    "size in a sum": (forward(lambda self, x: self.fc(x) + x.shape[1]), "module: computes with the size"),
    "mean": (forward(lambda self, x: self.fc(x).mean(1)), r"module: calls mean\(\).*AdaptiveAvgPool"),
    "stack": (forward(lambda self, x: torch.stack([self.fc(x), self.fc(x)], 1)), "module: stacks values of one step"),
    "loop": (
        forward(lambda self, x: sum(self.fc(x[t]) for t in range(x.shape[0]))),
        "module: its forward loops over values of its input: make it one time step",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name: str) -> None:
    (module, shape), said = REFUSED[name]
    with pytest.raises(Refused, match=f"^{said}"):
        from_torch(module if "training" in name else module.eval(), torch.randn(3, *shape))


def test_the_largest_of_a_window_by_hand() -> None:
    x = np.array([[[[1.0, -2.0, 0.5], [-3.0, -4.0, -0.5]]]])
    pool = MaxPool2d(2, 2, 2, 2, pad_bottom=1, pad_right=1)
    assert pool.step(np, {}, x)[1].tolist() == [[[[1.0, 0.5]]]]
    padded = MaxPool2d(3, 3, 2, 2, 1, 1, 1, 1)
    assert padded.step(np, {}, x)[1].tolist() == [[[[1.0, 0.5]]]]
    with pytest.raises(Exception, match="padding alone"):
        MaxPool2d(1, 1, 1, 1, pad_top=1).output_shape((1, 2, 2))


def test_views_by_hand() -> None:
    x = np.arange(6.0).reshape(1, 6)
    assert Reshape("2,3").step(np, {}, x)[1].tolist() == [[[0, 1, 2], [3, 4, 5]]]
    assert Pad(0, 1, 2).step(np, {}, x[:, :2])[1].tolist() == [[0, 0, 1, 0, 0]]
    for sizes in ("", "2,x", "2,-3", "2.0,3"):
        with pytest.raises(Exception, match="reshape: sizes"):
            Reshape(sizes).output_shape((6,))


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda w: w.to_sparse(), "0: weight is sparse"),
        (lambda w: w.to_sparse_csr(), "0: weight is sparse"),
        (lambda w: w.to("meta"), "0: weight is on the device meta"),
    ],
)
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
def test_tensors_without_plain_numbers(made, said):
    """As a weight, a buffer, and the example."""
    linear = nn.Linear(4, 4)
    linear.weight = nn.Parameter(made(linear.weight.detach()), requires_grad=False)
    with pytest.raises(Refused, match=said):
        from_torch(nn.Sequential(linear, nn.ReLU()), torch.ones(2, 4))
    plain = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    with pytest.raises(BadInput, match=r"^example: is on the device meta, or sparse"):
        from_torch(plain, made(torch.ones(2, 4)))
    plain.register_buffer("kept", made(torch.ones(2, 4)))
    with pytest.raises(Refused, match="module: kept is"):
        from_torch(plain, torch.ones(2, 4))
