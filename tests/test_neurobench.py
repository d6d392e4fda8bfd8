"""The ledger against NeuroBench 2.x, where that can see: operations, activation and connection sparsity."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
snn = pytest.importorskip("snntorch")
pytest.importorskip(
    "neurobench", reason="NeuroBench's own counts are compared only where it is installed: spikestrip[neurobench]"
)

from neurobench.benchmarks import Benchmark  # noqa: E402
from neurobench.metrics.static import ConnectionSparsity  # noqa: E402
from neurobench.metrics.workload import ActivationSparsity, SynapticOperations  # noqa: E402
from neurobench.models import NeuroBenchModel, SNNTorchModel  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

from convert import from_torch  # noqa: E402
from convert.strip import strip  # noqa: E402
from simulators.run import simulate  # noqa: E402
from spikestrip.operations import Affine, Conv2d  # noqa: E402
from spikestrip.program import Program  # noqa: E402
from spikestrip.trace import Trace  # noqa: E402
from train.config import Config  # noqa: E402
from train.networks import Network  # noqa: E402

SAMPLES, STEPS = 3, 12


def dyadic(net: nn.Module, rng: np.random.Generator) -> nn.Module:
    """Weights in eighths, a third of them 0: no sum rounds, whoever makes it, and so no spike can differ."""
    for parameter in (p for name, p in net.named_parameters() if name.endswith(("weight", "bias"))):
        drawn = rng.integers(-6, 9, parameter.shape) / 8 * (rng.random(parameter.shape) > 0.33)
        parameter.data = torch.tensor(drawn, dtype=torch.float32)
    return net


def layers() -> dict[str, object]:
    return {"beta": 0.5, "init_hidden": True, "reset_mechanism": "zero"}


def dense() -> nn.Module:
    last = snn.Leaky(**layers(), output=True)
    return nn.Sequential(
        nn.Linear(6, 16), snn.Leaky(**layers()), nn.Linear(16, 12, bias=False), snn.Leaky(**layers()), nn.Linear(12, 4),
        last,
    )  # fmt: skip


def convolutional() -> nn.Module:
    last = snn.Leaky(**layers(), output=True)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), snn.Leaky(**layers()), nn.Conv2d(3, 4, 3, stride=2), snn.Leaky(**layers()),
        nn.Flatten(), nn.Linear(16, 5), last,
    )  # fmt: skip


def benchmark(model: NeuroBenchModel, x: np.ndarray) -> dict[str, object]:
    data = DataLoader(TensorDataset(torch.tensor(x), torch.zeros(len(x))), batch_size=len(x))
    metrics = [[ConnectionSparsity], [ActivationSparsity, SynapticOperations]]
    return dict(Benchmark(model, data, [], [], metrics).run(quiet=True))


def counted(trace: Trace, counter: str) -> float:
    return sum(int(events[counter].sum()) for events in trace.events.values()) / len(trace.input)


@pytest.mark.parametrize(("make", "shape"), [(dense, (6,)), (convolutional, (2, 6, 6))])
def test_it_counts_as_the_ledger(make, shape: tuple[int, ...]) -> None:  # type: ignore[no-untyped-def]
    """Values enter (products), spikes go on (additions); both of a sample, the mean."""
    rng = np.random.default_rng(1)
    net = dyadic(make(), rng)
    x = (rng.integers(-8, 17, (SAMPLES, STEPS, *shape)) / 4).astype(np.float32)
    found = benchmark(SNNTorchModel(net), x)
    program = from_torch(net, torch.tensor(x[:, 0]))
    trace = simulate(program, x)
    operations = found["SynapticOperations"]
    assert operations["Effective_MACs"] == counted(trace, "effective_macs") > 0
    assert operations["Effective_ACs"] == counted(trace, "synaptic_acs") > 0
    assert operations["Dense"] == counted(trace, "dense_macs")
    fired = sum(int(train.sum()) for train in trace.spikes.values())
    assert found["ActivationSparsity"] == pytest.approx(1 - fired / sum(train.size for train in trace.spikes.values()))
    assert found["ConnectionSparsity"] == pytest.approx(zeros(program), abs=5e-5)


def zeros(program: Program) -> float:
    """The share of weights that are 0."""
    weights = [layer.operation.weight for layer in program.layers if isinstance(layer.operation, Affine | Conv2d)]
    return float(1 - sum(map(np.count_nonzero, weights)) / sum(weight.size for weight in weights))


class Parallel(NeuroBenchModel):
    """A network of train.networks, as one would hand it to NeuroBench."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net.eval()

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return self.net(batch)

    def __net__(self) -> nn.Module:
        return self.net


def test_it_does_not_see_a_state_space_model() -> None:
    """The recurrence is no module that it knows: most of the arithmetic, and none of its count."""
    torch.manual_seed(0)
    net = Network(Config(2, 3, d_model=8, d_state=4, layers=1, parallel="scan"))
    x = np.random.default_rng(0).normal(size=(2, 20, 2)).astype(np.float32)
    found = benchmark(Parallel(net), x)["SynapticOperations"]
    trace = simulate(strip(net), x)
    assert counted(trace, "state_macs") > 10 * found["Dense"] > 0
    assert found["Dense"] == 8 * 3  # the head, once for a sequence: the other matrices are no nn.Linear


def test_it_tells_products_from_additions_by_the_values_that_it_sees() -> None:
    """An input of 0 and 1 is additions to NeuroBench, and values to the ledger, whose input is no layer of spikes."""
    rng = np.random.default_rng(2)
    net = dyadic(dense(), rng)
    x = rng.integers(0, 2, (SAMPLES, STEPS, 6)).astype(np.float32)
    found = benchmark(SNNTorchModel(net), x)["SynapticOperations"]
    trace = simulate(from_torch(net, torch.tensor(x[:, 0])), x)
    values, spikes = counted(trace, "effective_macs"), counted(trace, "synaptic_acs")
    assert values > 0
    assert (found["Effective_MACs"], found["Effective_ACs"]) == (0, values + spikes)
