"""Modules of norse as programs: the spikes of norse itself, or a refusal by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convert import from_torch
from simulators.backends.numpy import NumpyBackend
from spikestrip.errors import Refused

REASON = "norse's modules are checked only where it is installed: pip install 'spikestrip[peers]'"
norse = pytest.importorskip("norse.torch", reason=REASON)
reset = pytest.importorskip("norse.torch.functional.reset", reason=REASON)

STEPS = 20
SEQUENCES = (norse.LIF, norse.LI, norse.IAF, norse.LIFRecurrent, norse.Lift)


def stepped(net: nn.Module, x: torch.Tensor) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """What every spiking neuron and the net give, (B, T, ...), by norse; x is (B, T, ...)."""
    seen: dict[str, list[torch.Tensor]] = {}
    handles = [
        each.register_forward_hook(lambda _, __, out, path=path: seen.setdefault(path, []).append(out[0]))
        for path, each in net.named_modules()
        if hasattr(getattr(each, "p", None), "v_th")
    ]
    whole = any(isinstance(module, SEQUENCES) for module in net.modules())
    with torch.no_grad():
        if whole:
            output = net(x.transpose(0, 1))
            output = (output[0] if isinstance(output, tuple) else output).transpose(0, 1)
        else:
            state, outputs = None, []
            for t in range(x.shape[1]):
                out, state = net(x[:, t], state)
                outputs.append(out)
            output = torch.stack(outputs, 1)
    for handle in handles:
        handle.remove()
    trains = {path: outs[0].transpose(0, 1) if whole else torch.stack(outs, 1) for path, outs in seen.items()}
    return {path: train.numpy() for path, train in trains.items()}, output.numpy()


def assert_equal(net: nn.Module, x: torch.Tensor) -> int:
    """Every spike; returns how many there were."""
    program = from_torch(net, x[:, 0])
    spikes, output = stepped(net, x)
    found = NumpyBackend().run(program, x.numpy(), "float64", "cpu", lambda _: None)
    for path, train in spikes.items():
        (name,) = [each for each in found.spikes if each.split("_", 1)[1] == path.replace(".", "_")]
        assert np.array_equal(found.spikes[name], train.reshape(*x.shape[:2], -1) != 0), path
    np.testing.assert_allclose(found.output, output, rtol=1e-9, atol=1e-12)
    return int(sum(np.count_nonzero(train) for train in spikes.values()))


def parameters(rng: np.random.Generator, kind: str) -> Any:
    def drawn(low: float, high: float) -> torch.Tensor:
        return torch.tensor(rng.uniform(low, high, 5 if rng.integers(2) else ()), dtype=torch.float32)

    given = {"v_th": drawn(0.1, 0.6), "v_reset": drawn(-0.2, 0.1)}
    if kind == "IAF":
        return norse.IAFParameters(**given)
    given |= {"tau_mem_inv": drawn(50, 900), "v_leak": torch.tensor(rng.choice([0.0, -0.1, 0.05]), dtype=torch.float32)}
    if kind == "Box":
        soft = bool(rng.integers(2))
        if soft:
            given |= {"v_leak": torch.tensor(0.0), "reset_method": reset.reset_subtract}
        return norse.LIFBoxParameters(**given)
    given["method"] = str(rng.choice(["super", "heaviside", "tanh"]))
    return norse.LIFParameters(tau_syn_inv=drawn(50, 900), **given)


def scalar(p: Any) -> Any:
    """norse's sequence modules fill their first state with one number."""
    return p._replace(**{name: getattr(p, name).mean() for name in ("v_reset", "v_leak") if hasattr(p, name)})


@given(st.integers(0, 2**32 - 1), st.sampled_from(["LIF", "Box", "IAF", "recurrent"]))
@settings(max_examples=30, deadline=None)
def test_cells(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    cells = {"LIF": norse.LIFCell, "Box": norse.LIFBoxCell, "IAF": norse.IAFCell}
    if kind == "recurrent":
        first = norse.LIFRecurrentCell(4, 5, p=parameters(rng, "LIF"), dt=1e-3)
        net = norse.SequentialState(first, nn.Linear(5, 3), norse.LICell())
    else:
        net = norse.SequentialState(
            *(nn.Linear(4, 5), cells[kind](parameters(rng, kind))),
            *(nn.Linear(5, 5), norse.LIFBoxCell(parameters(rng, "Box")), nn.Linear(5, 3), norse.LICell()),
        )
    assert_equal(net.double().eval(), torch.from_numpy(rng.normal(0.3, 2, (2, STEPS, 4))))


@given(st.integers(0, 2**32 - 1), st.sampled_from(["LIF", "IAF", "recurrent"]))
@settings(max_examples=20, deadline=None)
def test_whole_sequences(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    p = scalar(parameters(rng, "IAF" if kind == "IAF" else "LIF"))
    middle = {"LIF": norse.LIF, "IAF": norse.IAF}[kind](p) if kind != "recurrent" else norse.LIFRecurrent(5, 5, p=p)
    net = norse.SequentialState(nn.Linear(4, 5), middle, nn.Linear(5, 3), norse.LI())
    assert_equal(net.double().eval(), torch.from_numpy(rng.normal(0.3, 2, (2, STEPS, 4))))


def test_lifted_convolutions() -> None:
    torch.manual_seed(0)
    p = norse.LIFParameters(v_th=torch.tensor(0.3))
    net = norse.SequentialState(
        *(norse.Lift(nn.Conv2d(1, 3, 3)), norse.LIF(p), norse.Lift(nn.MaxPool2d(2)), nn.Flatten(2)),
        *(nn.Linear(12, 4), norse.LI()),
    )
    with pytest.raises(Refused, match=r"flattens|differ|shape"):  # Flatten(2) of (T, B, ...) is none of a step
        from_torch(net.eval(), torch.rand(2, 1, 6, 6))
    lifted = norse.SequentialState(*list(net)[:3], norse.Lift(nn.Flatten()), *list(net)[4:])
    assert assert_equal(lifted.double().eval(), torch.rand(2, STEPS, 1, 6, 6).double() * 3) > 50


def test_ties_do_not_fire() -> None:
    """tau_mem_inv*dt = 0.5 and v_th = 1: potentials of halves tie with the threshold."""
    p = norse.LIFBoxParameters(tau_mem_inv=torch.tensor(512.0), v_th=torch.tensor(1.0))
    net = norse.SequentialState(nn.Identity(), norse.LIFBoxCell(p, dt=2.0**-10))
    x = torch.from_numpy(np.random.default_rng(3).integers(-2, 7, (3, STEPS, 5)) / 2)
    assert assert_equal(net, x) > 20


class Stated(nn.Module):
    """The state in a list, and alone."""

    def __init__(self) -> None:
        super().__init__()
        self.net = norse.SequentialState(nn.Linear(4, 6), norse.LIFCell(norse.LIFParameters(v_th=torch.tensor(0.2))))
        self.last = norse.LICell()

    def forward(self, x: torch.Tensor, state: Any = None, last: Any = None) -> Any:
        x, state = self.net(x, state)
        out, last = self.last(x, last)
        return out, state, last


class Stateless(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = norse.LIFCell()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.cell(x)[0]


def test_states_as_arguments() -> None:
    torch.manual_seed(0)
    net = Stated().double().eval()
    x = torch.randn(2, STEPS, 4).double() * 3
    program = from_torch(net, x[:, 0])
    found = NumpyBackend().run(program, x.numpy(), "float64", "cpu", lambda _: None)
    state = last = None
    for t in range(STEPS):
        with torch.no_grad():
            out, state, last = net(x[:, t], state, last)
        np.testing.assert_allclose(found.output[:, t], out.numpy(), rtol=1e-10, atol=1e-14)
    assert sum(train.sum() for train in found.spikes.values()) > 10


class Published(nn.Module):
    """norse's MNIST tutorial, smaller: a recurrent LIF, a readout, and a loop over time in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.l1 = norse.LIFRecurrentCell(16, 10, p=norse.LIFParameters(alpha=100, v_th=torch.tensor(0.33)), dt=0.001)
        self.fc_out = nn.Linear(10, 4, bias=False)
        self.out = norse.LICell(dt=0.001)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seq_length, _batch_size, _, _, _ = x.shape
        s1 = so = None
        voltages = []
        for ts in range(seq_length):
            z = x[ts, :, :, :].view(-1, 16)
            z, s1 = self.l1(z, s1)
            z = self.fc_out(z)
            vo, so = self.out(z, so)
            voltages += [vo]
        return torch.stack(voltages)


def test_the_tutorials_network() -> None:
    torch.manual_seed(0)
    net = Published().double()
    x = (torch.rand(STEPS, 3, 1, 4, 4) < 0.3).double() * 2
    program = from_torch(net, x[0])
    with torch.no_grad():
        expected = net(x).transpose(0, 1).numpy()
    found = NumpyBackend().run(program, x.transpose(0, 1).numpy(), "float64", "cpu", lambda _: None)
    np.testing.assert_allclose(found.output, expected, rtol=1e-10, atol=1e-14)
    assert found.spikes["n03_l1"].sum() > 20


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (Stateless(), "^cell: is called without its state"),
        (norse.SequentialState(norse.LIFRefracCell()), "^0: is a LIFRefracCell.*holds its potential"),
        (norse.SequentialState(norse.LIFAdExCell()), "^0: is a LIFAdExCell"),
        (norse.SequentialState(norse.LSNNCell()), "^0: is a LSNNCell"),
        (norse.SequentialState(norse.LICell(), return_hidden=True), "return_hidden"),
        (norse.SequentialState(norse.LICell(norse.LIParameters(v_leak=torch.tensor(1.0)))), "v_leak = 0"),
        (norse.SequentialState(norse.LIFCell(norse.LIFParameters(method="adjoint"))), "method 'adjoint'"),
        (norse.SequentialState(norse.LIF(), norse.LICell()), "one kind"),
    ],
)
def test_refused_by_name(made: nn.Module, said: str) -> None:
    with pytest.raises(Refused, match=said):
        from_torch(made.eval(), torch.ones(2, 3))
