"""Forwards that loop over time: folded to the step that they repeat, or refused in one line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import snntorch as snn
import torch
from torch import Tensor, nn

from convert import from_torch
from simulators.backends.numpy import NumpyBackend
from spikestrip.errors import Refused


class Tutorial(nn.Module):
    """snnTorch's tutorial 5, smaller: one image, given in each of ``num_steps`` steps."""

    def __init__(self, num_steps: int) -> None:
        super().__init__()
        self.num_steps = num_steps
        self.fc1, self.lif1 = nn.Linear(12, 20), snn.Leaky(beta=0.95)
        self.fc2, self.lif2 = nn.Linear(20, 5), snn.Leaky(beta=0.95)

    def forward(self, x: Tensor) -> Any:
        mem1 = self.lif1.init_leaky()
        mem2 = self.lif2.init_leaky()
        spk2_rec = []
        mem2_rec = []
        for _ in range(self.num_steps):
            cur1 = self.fc1(x)
            spk1, mem1 = self.lif1(cur1, mem1)
            cur2 = self.fc2(spk1)
            spk2, mem2 = self.lif2(cur2, mem2)
            spk2_rec.append(spk2)
            mem2_rec.append(mem2)
        return torch.stack(spk2_rec, dim=0), torch.stack(mem2_rec, dim=0)


class OverTime(Tutorial):
    """The same over a sequence; ``axis`` is that of its time."""

    axis, out = 0, 0

    def at(self, x: Tensor, step: int) -> Tensor:
        return x[step] if self.axis == 0 else x[:, step, :]

    def forward(self, x: Tensor) -> Any:
        self.lif1.reset_mem()
        spk, mem1 = [], torch.zeros(1)
        mem2 = torch.zeros(x.shape[1 - self.axis], 5)
        for step in range(x.size(self.axis)):
            flat = self.at(x, step).view(x.shape[1 - self.axis], -1)
            spk1, mem1 = self.lif1(self.fc1(flat), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spk.append(spk2)
        return torch.stack(spk, self.out)


class BatchFirst(OverTime):
    axis, out = 1, 1


class Mixed(OverTime):
    axis, out = 1, 0


class Each(nn.Module):
    """``for step in x``, hidden states, a stack by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(12, 9), snn.Leaky(0.8, init_hidden=True), nn.Linear(9, 4))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.net(step) for step in x], dim=0)


def run(program: Any, x: Tensor) -> np.ndarray:
    return NumpyBackend().run(program, x.numpy(), "float64", "cpu", lambda _: None).output  # type: ignore[arg-type]


def test_the_tutorials_network() -> None:
    torch.manual_seed(0)
    net = Tutorial(25)
    image = torch.rand(3, 12) * 2
    program = from_torch(net, image)
    assert [layer.name.split("_", 1)[1] for layer in program.spiking] == ["lif1", "lif2"]
    with torch.no_grad():
        expected = net(image)[0].numpy()
    found = run(program, image[:, None].repeat(1, 25, 1).double())
    assert np.array_equal(found.swapaxes(0, 1), expected)
    assert expected.sum() > 20


@pytest.mark.parametrize("kind", [OverTime, BatchFirst, Mixed])
def test_loops_over_a_sequence(kind: type[OverTime]) -> None:
    torch.manual_seed(1)
    net = kind(0)
    x = torch.rand(3, 15, 12) * 2
    program = from_torch(net, x[:, 0])
    with torch.no_grad():
        expected = net(x.transpose(0, 1) if kind.axis == 0 else x)
    expected = expected.transpose(0, 1) if kind.out == 0 else expected
    assert np.array_equal(run(program, x.double()), expected.numpy())
    assert expected.sum() > 20
    assert "_tensor_constant0" not in vars(net)


def test_each_step_of_a_sequence() -> None:
    torch.manual_seed(2)
    net = Each()
    x = torch.randn(15, 3, 12) * 2
    program = from_torch(net, x[0])
    net.net[1].reset_mem()
    with torch.no_grad():
        expected = net(x).transpose(0, 1)
    np.testing.assert_allclose(run(program, x.transpose(0, 1).double()), expected.numpy(), atol=1e-5)


class Written(nn.Module):
    """A forward of one's own."""

    def __init__(self, forward: Any) -> None:
        super().__init__()
        self.body = forward
        self.fc, self.lif = nn.Linear(4, 4), snn.Leaky(0.9)

    def forward(self, x: Tensor) -> Any:
        return self.body(self, x)


def lagging(self: Any, x: Tensor) -> Tensor:
    mem, before, out = None, torch.zeros(1), []
    for step in x:
        spk, mem = self.lif(step, mem)
        out.append(self.fc(before) if isinstance(before, torch.fx.Proxy) else self.fc(spk))
        before = spk
    return torch.stack(out)


def forgetting(self: Any, x: Tensor) -> Tensor:
    return torch.stack([self.lif(step, torch.zeros(1))[0] for step in x])


def changing(self: Any, x: Tensor) -> Tensor:
    return torch.stack([self.fc(x[t]) if t % 2 else self.fc(self.fc(x[t])) for t in range(x.shape[0])])


def summed(self: Any, x: Tensor) -> Tensor:
    mem, total = None, 0.0
    for step in x:
        spk, mem = self.lif(self.fc(step), mem)
        total = total + spk
    return total  # type: ignore[return-value]


def beside(self: Any, x: Tensor) -> Any:
    mem, out, more = None, [], []
    for step in x:
        spk, mem = self.lif(self.fc(step), mem)
        out.append(spk)
        more.append(self.fc(spk))
    return torch.stack(out), torch.stack(more)


@pytest.mark.parametrize(
    ("forward", "said"),
    [
        (lagging, "^lif: is not called once in each step, or read in the step after"),
        (forgetting, "^lif: begins anew in each step of the loop"),
        (changing, "^module: loops over time with steps that differ"),
        (summed, r"^module: its forward loops over values of its input: make it one time step, `net\(x\[:, t\]\)`"),
        (beside, "^module: returns fc.* beside its output"),
        (lambda self, x: torch.stack([self.fc(x[t + 1]) for t in range(3)]), "reads another step of its input"),
    ],
)
def test_refused_in_one_line(forward: Any, said: str) -> None:
    with pytest.raises(Refused, match=said):
        from_torch(Written(forward), torch.ones(2, 4))
