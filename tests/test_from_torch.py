"""Modules of torch and snnTorch as programs: the spikes of the module itself, or a refusal by name."""

import subprocess
import sys

import nir
import numpy as np
import pytest
import snntorch as snn
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nir_interpreter import run as run_standard_nodes
from torch import nn

from convert import from_torch
from convert.formats.nir.reading import read
from convert.formats.nir.writing import write
from deploy.verify import verify
from simulators import backends
from simulators.run import simulate
from spikestrip.errors import BadInput, Refused
from spikestrip.operations import LIF, Affine

SIZES = st.integers(1, 6)


def heaviside(shifted):
    """snnTorch's own step gives float32, which no float64 layer after it takes."""
    return (shifted > 0).to(shifted.dtype)


def spikes_of(module, x):
    """What every neuron of ``module`` fires on x (B, T, *shape), by path, stepped by snnTorch; "" is the output."""
    seen = {}

    def hook(path):
        def keep(_, __, output):
            seen.setdefault(path, []).append((output[0] if isinstance(output, tuple) else output).clone())

        return keep

    named = dict(module.named_modules())
    neurons = {path: each for path, each in named.items() if type(each).__module__.startswith("snntorch.")}
    neurons = {path: each for path, each in neurons.items() if hasattr(each, "threshold")} | {"": module}
    handles = [each.register_forward_hook(hook(path)) for path, each in neurons.items()]
    for each in neurons.values():
        if hasattr(each, "reset_mem"):
            each.reset_mem()
    with torch.no_grad():
        for t in range(x.shape[1]):
            module(x[:, t])
    for handle in handles:
        handle.remove()
    return {path: torch.stack(steps, dim=1).numpy() for path, steps in seen.items()}


def run(program, x, backend="numpy", dtype="float64"):
    return backends.load(backend).run(program, x.numpy(), dtype, "cpu", lambda _: None)


def assert_equal(module, program, x, dtype="float64", backend="numpy"):
    """Every spike of every neuron, and spikes that are the output."""
    expected, found = spikes_of(module, x), run(program, x, backend, dtype)
    fired = 0
    for path, train in expected.items():
        if path:
            (name,) = [layer.name for layer in program.spiking if layer.name.split("_", 1)[1] == path.replace(".", "_")]
            train = train.reshape(*x.shape[:2], -1)
            assert np.array_equal(found.spikes[name], train != 0), path
            fired += np.count_nonzero(train)
    assert found.output.shape == expected[""].shape
    np.testing.assert_allclose(found.output, expected[""], rtol=1e-12 if dtype == "float64" else 1e-5, atol=1e-12)
    return fired


class Numbers:
    """Parameters at random, or small multiples of powers of two: sums are exact, and potentials tie with thresholds."""

    def __init__(self, rng, dyadic):
        self.rng, self.dyadic = rng, dyadic

    def uniform(self, low, high, *size):
        values = self.rng.uniform(low, high, size)
        return torch.tensor(np.round(values * 4) / 4 if self.dyadic else values)

    def per_neuron(self, low, high, size):
        """A scalar, one value for each neuron, or those with an axis for the batch."""
        return self.uniform(low, high, *[(), (size,), (1, size)][self.rng.integers(3)])

    def decay(self, size):
        return (self.per_neuron(0, 2, size).round() / 2) if self.dyadic else self.per_neuron(-0.1, 1.1, size)

    def linear(self, inputs, outputs):
        layer = nn.Linear(inputs, outputs, bias=bool(self.rng.integers(2)))
        for parameter in layer.parameters():
            parameter.data = self.uniform(-1.5, 2, *parameter.shape)
        return layer

    def neuron(self, size):
        kinds = ["Leaky", "Leaky", "RLeaky", "RSynaptic", "Synaptic", "Lapicque"] + ["Alpha"] * (not self.dyadic)
        kind = self.rng.choice(kinds)
        plain = kind in ("Lapicque", "RSynaptic")
        reset = "none" if kind == "Alpha" else self.rng.choice(["subtract", "none"] + ["zero"] * (not plain))
        delay = bool(self.rng.integers(2)) if not plain else True
        if kind in ("RLeaky", "Synaptic") and reset == "zero":
            delay = False
        if reset == "subtract":
            delay = True
        below = -1 if reset == "none" or (kind == "Leaky" and reset == "zero" and delay) else 0
        common = {
            "threshold": self.per_neuron(below, 2, size),
            "reset_mechanism": str(reset),
            "init_hidden": True,
            "spike_grad": heaviside,
            "learn_threshold": bool(self.rng.integers(2)),
        }
        if kind == "Lapicque":
            made = snn.Lapicque(R=int(self.rng.choice([1, 2])), C=float(self.rng.choice([1, 2, 4])), **common)
        elif kind == "Leaky":
            factor = float(self.rng.choice([1.0, 0.5]))
            made = snn.Leaky(self.decay(size), reset_delay=delay, graded_spikes_factor=factor, **common)
        elif kind == "Synaptic":
            made = snn.Synaptic(self.decay(size), self.decay(size), reset_delay=delay, **common)
        elif kind == "Alpha":
            beta = self.per_neuron(0.1, 0.8, size)
            made = snn.Alpha(beta + self.uniform(0.05, 0.2), beta, **common)
        elif kind == "RSynaptic":
            given = {"linear_features": size} if self.rng.integers(2) else {"V": 0.5, "all_to_all": False}
            made = snn.RSynaptic(self.decay(size), self.decay(size), **given, **common)
            if "linear_features" in given:
                made.recurrent = self.linear(size, size)
        elif self.rng.integers(2):
            v = self.per_neuron(-1, 1, size)
            made = snn.RLeaky(self.decay(size), V=v, all_to_all=False, reset_delay=delay, **common)
        else:
            made = snn.RLeaky(self.decay(size), linear_features=size, reset_delay=delay, **common)
            made.recurrent = self.linear(size, size)
        return made


class Residual(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


@st.composite
def networks(draw, dyadic):
    """A nested Sequential with residual sums, in float64, and its input (B, T, C)."""
    numbers = Numbers(np.random.default_rng(draw(st.integers(0, 2**32 - 1))), dyadic)
    inputs = size = draw(SIZES)
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        wider = draw(SIZES)
        parts.append(nn.Sequential(numbers.linear(size, wider), nn.Dropout(0.5), numbers.neuron(wider)))
        if draw(st.booleans()):
            parts.append(Residual(nn.Sequential(numbers.linear(wider, wider), nn.Identity(), numbers.neuron(wider))))
        size = wider
    module = nn.Sequential(nn.Flatten(), nn.Sequential(*parts)).double().eval()
    steps = draw(st.integers(1, 6 if dyadic else 40))
    return module, numbers.uniform(-2, 3, draw(st.integers(1, 4)), steps, inputs)


@pytest.mark.parametrize("dyadic", [False, True], ids=["random", "ties"])
@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_every_spike_is_snntorchs_own_in_float64(dyadic, data):
    module, x = data.draw(networks(dyadic))
    assert_equal(module, from_torch(module, x[:, 0]), x)


@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_ties_fall_as_in_snntorch_in_float32_too_on_every_backend(data):
    module, x = data.draw(networks(True))
    program = from_torch(module, x[:, 0])
    for backend in ("numpy", "torch", "onnxruntime"):
        assert_equal(module.float(), program, x.float(), "float32", backend)


def test_the_comparison_is_strict():
    module = nn.Sequential(snn.Leaky(0.5, threshold=1.0, init_hidden=True))
    x = torch.tensor([[[1.0], [0.5], [0.75], [0.625]]])  # 1, 1, 1.25: fires, 0.625 + 0.625 - 1
    program = from_torch(module, x[:, 0])
    assert run(program, x).output.ravel().tolist() == [0, 0, 1, 0]
    assert assert_equal(module, program, x, "float32") == 1


@pytest.mark.parametrize("undamped", [False, True])
def test_a_written_file_gives_the_same_spikes_even_by_its_standard_nodes_alone(tmp_path, undamped):
    torch.manual_seed(3)
    beta = 1.0 if undamped else 0.9
    module = nn.Sequential(
        *(nn.Linear(4, 9), nn.BatchNorm1d(9), snn.Leaky(beta, init_hidden=True, spike_grad=heaviside)),
        *(nn.Linear(9, 9), snn.Leaky(beta, reset_mechanism="zero", init_hidden=True, spike_grad=heaviside)),
        snn.RLeaky(0.7, linear_features=9, init_hidden=True, spike_grad=heaviside),
        *(nn.Linear(9, 3), snn.Synaptic(0.6, 0.8, init_hidden=True, spike_grad=heaviside)),
    )
    for _ in range(5):
        module[1](module[0](torch.randn(50, 4)))
    module = module.double().eval()
    x = 3 * torch.randn(3, 60, 4).double()
    program = from_torch(module, x[:, 0])
    write(program, tmp_path / "m.nir")
    assert read(tmp_path / "m.nir").sha256 == program.sha256
    assert assert_equal(module, program, x) > 400
    expected = run(program, x)
    for backend in ("torch", "onnxruntime"):
        found = run(program, x, backend)
        assert all(np.array_equal(found.spikes[name], train) for name, train in expected.spikes.items())
    for sample in range(len(x)):
        alone = run_standard_nodes(nir.read(tmp_path / "m.nir"), x[sample, :, None].numpy())["output"]
        assert np.array_equal(alone[:, 0], expected.output[sample])


class Explicit(nn.Module):
    """snnTorch's usual style: states are arguments, and come back beside the spikes."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(3, 5), nn.Linear(5, 4)
        self.lif = snn.Leaky(0.8, spike_grad=heaviside)
        self.rec = snn.RLeaky(0.7, linear_features=5, spike_grad=heaviside)
        self.out = snn.Synaptic(0.6, 0.9, spike_grad=heaviside)

    def forward(self, x, mem1=None, spk2=None, mem2=None, syn3=None, mem3=None):
        spk1, mem1 = self.lif(self.fc1(x), mem1)
        spk2, mem2 = self.rec(spk1, spk=spk2, mem=mem2)
        spk3, syn3, mem3 = self.out(self.fc2(spk1 + spk2), syn3, mem3)
        return spk3, (mem1, spk2, mem2, syn3, mem3)


def test_states_may_be_arguments_that_come_back():
    torch.manual_seed(0)
    module = Explicit().double()
    x = 3 * torch.randn(4, 30, 3).double()
    program = from_torch(module, x[:, 0])
    states, expected = [], []
    with torch.no_grad():
        for t in range(30):
            spikes, states = module(x[:, t], *states)
            expected.append(spikes.numpy())
    assert np.array_equal(run(program, x).output, np.stack(expected, axis=1))
    assert np.count_nonzero(expected) > 30


@pytest.mark.parametrize("reset", ["none", "subtract"])
def test_a_membrane_can_be_the_output(reset):
    class Readout(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.lif = nn.Linear(3, 2), snn.Leaky(0.9, reset_mechanism=reset)

        def forward(self, x):
            return self.lif(self.fc(x))[1]

    module = Readout().double()
    x = 2 * torch.randn(2, 20, 3).double()
    program = from_torch(module, x[:, 0])
    np.testing.assert_allclose(run(program, x).output, mems(module, x), atol=1e-12)
    assert [layer.operation.kind for layer in program.layers][:2] == ["affine", "li"]
    assert len(program.spiking) == (reset == "subtract")  # spikes that nobody reads are left out


def mems(module, x):
    module.lif.reset_mem()
    with torch.no_grad():
        return np.stack([module(x[:, t]).numpy() for t in range(x.shape[1])], axis=1)


def unbiased(norm):
    norm.bias = None
    return norm


FRAMES = {
    "kernel 1": (nn.Sequential(nn.Conv1d(3, 4, 1), nn.BatchNorm1d(4)), (3, 5)),
    "conv1d": (nn.Conv1d(2, 4, 3, stride=2, padding=2, dilation=2, groups=2), (2, 9)),
    "same": (nn.Conv1d(2, 3, 4, padding="same", bias=False), (2, 7)),
    "conv2d": (nn.Sequential(nn.Conv2d(1, 3, (3, 2), padding=(1, 0)), nn.BatchNorm2d(3), nn.AvgPool2d(2)), (1, 6, 5)),
    "norm alone": (nn.BatchNorm1d(4), (4, 3)),
    "norm of a vector": (nn.Sequential(nn.ReLU(), nn.BatchNorm1d(4, affine=False)), (4,)),
    "norm without bias": (nn.Sequential(nn.Linear(4, 3), unbiased(nn.BatchNorm1d(3))), (4,)),
    "conv, norm without bias": (nn.Sequential(nn.Conv2d(1, 3, 3), unbiased(nn.BatchNorm2d(3))), (1, 6, 5)),
    "one step's norm of snnTorch": (nn.Sequential(nn.Linear(4, 3), snn.BatchNormTT1d(3, 5)[0]), (4,)),
    "norm read twice": (Residual(nn.Sequential(nn.Linear(4, 4), Residual(nn.BatchNorm1d(4)))), (4,)),
    "linear over rows": (nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(2), nn.Flatten(1, -1), nn.Linear(8, 2)), (2, 3)),
}


@pytest.mark.parametrize("name", FRAMES)
def test_layers_without_state(name):
    torch.manual_seed(1)
    module, shape = FRAMES[name]
    module = module.double().train()
    for _ in range(4):
        module(3 * torch.randn(20, *shape).double() + 1)
    for norm in module.modules():
        if getattr(norm, "affine", False):
            nn.init.normal_(norm.weight)
            if norm.bias is not None:
                nn.init.normal_(norm.bias)
    x = torch.randn(3, 2, *shape).double()
    program = from_torch(module.eval(), x[:, 0])
    with torch.no_grad():
        expected = torch.stack([module(x[:, t]) for t in range(2)], dim=1).numpy()
    np.testing.assert_allclose(run(program, x).output, expected, rtol=1e-10, atol=1e-12)


def test_a_batch_norm_is_folded_into_what_only_it_reads():
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).eval()
    kinds = [layer.operation.kind for layer in from_torch(module, torch.randn(2, 3)).layers]
    assert kinds == ["affine", "affine"]


def net(*layers):
    return nn.Sequential(*layers), torch.randn(3, 4)


def forward(function, **submodules):
    class Custom(nn.Module):
        def forward(self, *args):
            return function(self, *args)

    class Input(Custom):
        def forward(self, x, mem=None):
            return function(self, x, mem) if function.__code__.co_argcount > 2 else function(self, x)

    module = Input()
    for name, submodule in submodules.items():
        module.add_module(name, submodule)
    return module, torch.randn(3, 4)


def stamped(module, **attributes):
    for name, value in attributes.items():
        setattr(module, name, value)
    return module


def hooked(module):
    module.register_forward_hook(lambda *_: None)
    return module


def hidden(**options):
    return snn.Leaky(**({"beta": 0.9, "init_hidden": True} | options))


REFUSED = {
    "dropout in training": (lambda: net(nn.Linear(4, 4), nn.Sequential(nn.Dropout())), "1.0: .*training.*eval"),
    "norm in training": (lambda: net(nn.BatchNorm1d(4)), "0: .*training.*eval"),
    "norm of the batch": (lambda: net(nn.BatchNorm1d(4, track_running_stats=False).eval()), "0: .*no running"),
    "unknown layer": (lambda: net(nn.Linear(4, 4), nn.Softmax(1)), "1: is a Softmax"),
    "unknown neuron": (lambda: net(nn.Sequential(snn.SLSTM(4, 4, init_hidden=True))), "0.0: is a SLSTM.*products"),
    "alpha that resets": (lambda: net(snn.Alpha(0.9, 0.8, init_hidden=True)), "0: .*reset_mechanism='none' can be"),
    "recurrent, reset at once": (
        lambda: net(snn.RSynaptic(0.9, 0.8, linear_features=4, reset_delay=False, init_hidden=True)),
        "0: .*reset_delay=True can be converted",
    ),
    "subclass": (lambda: net(type("Mine", (nn.Linear,), {})(4, 4)), "0: is a Mine"),
    "in place": (lambda: net(nn.ReLU(inplace=True)), "0: .*inplace=False"),
    "flatten the batch": (lambda: net(nn.Flatten(0)), "0: .*batch"),
    "padding": (
        lambda: (nn.Conv1d(4, 4, 3, padding=1, padding_mode="circular"), torch.randn(1, 4, 5)),
        "0: .*circular",
    ),
    "hook": (lambda: net(nn.Sequential(hooked(nn.Linear(4, 4)))), "0.0: .*hook"),
    "own forward": (lambda: net(stamped(nn.Linear(4, 4), forward=lambda x: x)), "0: .*forward"),
    "two resets": (lambda: net(hidden(reset_delay=False)), "0: .*resets twice.*reset_delay=True"),
    "dropped input": (
        lambda: net(snn.Synaptic(0.9, 0.8, reset_mechanism="zero", init_hidden=True)),
        "0: .*drops that step's input.*reset_delay=False",
    ),
    "lapicque to zero": (
        lambda: net(snn.Lapicque(0.9, reset_mechanism="zero", init_hidden=True)),
        "0: .*'subtract' can",
    ),
    "negative threshold": (lambda: net(hidden(threshold=-0.5)), "0: .*negative threshold"),
    "inhibition": (lambda: net(hidden(inhibition=True)), "0: .*inhibition"),
    "quantised state": (lambda: net(hidden(state_quant=lambda mem: mem.round())), "0: .*state_quant"),
    "graded to nothing": (lambda: net(hidden(graded_spikes_factor=0.0)), "0: .*graded_spikes_factor"),
    "other step": (lambda: net(hidden(spike_grad=lambda x: (x >= 0).float())), "0: .*spike_grad"),
    "soft step": (lambda: net(hidden(spike_grad=torch.sigmoid)), "0: .*spike_grad"),
    "step that can't run": (lambda: net(hidden(spike_grad=snn.surrogate.LSO())), "0: .*spike_grad that can't run"),
    "reset changed": (lambda: net(stamped(hidden(), reset_mechanism="zero")), "0: .*make it anew"),
    "beta of another size": (lambda: net(hidden(beta=torch.rand(3))), "0: beta of shape"),
    "conv feedback": (
        lambda: (snn.RLeaky(0.9, conv2d_channels=2, kernel_size=3, init_hidden=True), torch.randn(1, 2, 4, 4)),
        "0.recurrent: is a Conv2d",
    ),
    "NaN": (lambda: net(hidden(threshold=float("nan"))), "0: threshold holds NaN"),
    "states into a layer": (lambda: net(snn.Leaky(0.9), nn.Linear(4, 4)), "1: .*init_hidden=True"),
    "compiled": (lambda: net(torch.jit.trace(nn.Linear(4, 4), torch.randn(1, 4))), "0: is compiled"),
    "states in a dictionary": (
        lambda: forward(lambda self, x, mem: self.lif(x, mem["a"]), lif=hidden(init_hidden=False)),
        "module: takes item 'a' of 'mem'",
    ),
    "sizes": (lambda: net(nn.Linear(5, 4)), "0: .*takes inputs of shape"),
    "loop over time": (
        lambda: forward(lambda self, x: [self.lif(x) for _ in range(3)][-1], lif=hidden()),
        "lif: .*more than once.*one time step",
    ),
    "decision": (lambda: forward(lambda self, x: x if x.sum() > 0 else -x), "module: .*decisions on values"),
    "decision inside": (
        lambda: net(nn.Linear(4, 4), forward(lambda self, x: self.fc(x) if x.sum() else x, fc=nn.Linear(4, 4))[0]),
        "1: .*decisions on values",
    ),
    "product": (lambda: forward(lambda self, x: self.fc(x) * x, fc=nn.Linear(4, 4)), "module: multiplies two streams"),
    "view": (lambda: forward(lambda self, x: self.fc(x).view(3, 4), fc=nn.Linear(4, 4)), r"module: calls view\(\)"),
    "constant": (lambda: forward(lambda self, x: x + 1), "module: takes the constant 1"),
    "weight": (
        lambda: forward(lambda self, x: x + self.fc.weight[0], fc=nn.Linear(4, 4)),
        "module: takes 'getitem', a constant",
    ),
    "two outputs": (lambda: forward(lambda self, x: (self.fc(x), x), fc=nn.Linear(4, 4)), "module: returns x beside"),
    "membrane that resets": (
        lambda: forward(lambda self, x: self.lif(x)[1], lif=hidden(init_hidden=False, reset_mechanism="zero")),
        "module: reads the state of lif",
    ),
    "state not returned": (
        lambda: forward(lambda self, x, mem: self.lif(x, mem)[0], lif=hidden(init_hidden=False)),
        "lif: .*does not return the next one",
    ),
    "state for a layer": (
        lambda: forward(lambda self, x, mem: self.fc(x) + mem, fc=nn.Linear(4, 4)),
        "module: needs 'mem' to be used once, and its next value to be returned",
    ),
    "state made in forward": (
        lambda: forward(lambda self, x: self.lif(x, self.lif.reset_mem()), lif=hidden(init_hidden=False)),
        "lif: has its 'mem' set in forward",
    ),
    "state shared": (
        lambda: forward(shared_state, a=hidden(init_hidden=False), b=hidden(init_hidden=False)),
        "a: needs 'mem' to be an argument of forward that only this neuron takes",
    ),
    "reset in forward": (
        lambda: forward(lambda self, x: (self.lif.reset_mem(), self.lif(x))[1], lif=hidden()),
        "lif: has its 'mem' set in forward",
    ),
    "returns its input": (lambda: net(nn.Identity()), "module: returns its input"),
    "aliased sum": (
        lambda: forward(aliased, fc=nn.Linear(4, 4)),
        r"module: calls iadd\(\), which changes in place what 'add' reads after it",
    ),
}


def shared_state(self, x, mem):
    spikes, after = self.a(x, mem)
    return self.b(spikes, mem)[0], after


def aliased(self, x):
    y = z = self.fc(x)
    y += x  # torch changes z as well
    return y + z


def decays(self, x):
    self.fc.weight.data.mul_(0.9)
    return self.fc(x)


HIDDEN = {
    "weights that change": decays,
    "a branch for tensors": lambda self, x: self.fc(x) if isinstance(x, torch.Tensor) else -self.fc(x),
    "a branch for training": lambda self, x: self.fc(x) if torch.is_grad_enabled() else -self.fc(x),
    "a number drawn": lambda self, x: self.fc(x) * torch.rand(4),
}
"""Forwards that do what a trace doesn't show."""


@pytest.mark.parametrize("case", HIDDEN)
def test_what_an_example_of_zeros_does_not_show_is_refused(case):
    torch.manual_seed(0)
    module, _ = forward(lambda self, x: self.lif(HIDDEN[case](self, x)), fc=nn.Linear(4, 4, bias=False), lif=hidden())
    before = [parameter.detach().clone() for parameter in module.parameters()]
    with pytest.raises(Refused, match=r"lif: and the program made of it differ in .* values that enter it .* of noise"):
        from_torch(module, torch.zeros(3, 4))
    for parameter, was in zip(module.parameters(), before, strict=True):
        assert torch.equal(parameter, was)


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_said_is_refused_by_the_submodules_name(case):
    torch.manual_seed(0)
    module, example = REFUSED[case][0]()
    with pytest.raises(Refused, match="^" + REFUSED[case][1]):
        from_torch(module, example)


@pytest.mark.parametrize(
    "example", [np.zeros((1, 4)), torch.zeros(4), torch.full((1, 4), torch.nan), torch.zeros(0, 4)]
)
def test_an_example_that_is_none(example):
    with pytest.raises(BadInput, match=r"^example: "):
        from_torch(nn.Linear(4, 4), example)


def test_why_subtraction_without_delay_is_refused():
    """The soft LIF is what one would take it for; one strong input, and they differ."""
    lif = snn.Leaky(0.5, reset_delay=False, init_hidden=True)
    x = torch.tensor([4.0, 0.0, 0.0, 0.0])  # the soft LIF: 4, 3 left; 1.5, 0.5 left
    theirs = [float(lif(value[None, None])) for value in x]
    soft = LIF(np.full(1, 0.5), np.ones(1), reset_kind="soft", comparison="gt")
    state, ours = {"u": np.zeros((1, 1))}, []
    for value in x.numpy():
        state, spikes = soft.step(np, state, value[None, None])
        ours.append(spikes.item())
    assert (ours, theirs) == ([1, 1, 0, 0], [1, 0, 0, 0])


def contents(module):
    return {
        path: {
            name: (id(value), repr(value)) for name, value in (vars(each) | each._parameters | each._buffers).items()
        }
        for path, each in module.named_modules()
    }


@pytest.mark.parametrize("fails", [False, True])
def test_the_module_is_left_as_it_was(fails):
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), snn.Leaky(0.9, init_hidden=True), snn.Leaky(0.5))
    module(torch.randn(3, 4))  # states hold values, and a graph for gradients
    with torch.inference_mode():
        module[3](torch.randn(3, 4))
    module[:3].eval()
    module[3].seen = [1]
    module[3].reset_delay = not fails
    before = contents(module)
    if fails:
        with pytest.raises(Refused):
            from_torch(module, torch.randn(3, 4))
    else:
        from_torch(module, torch.randn(3, 4))
    assert contents(module) == before
    assert module[3].training
    assert module[2].mem.any()


def test_a_forward_that_changes_a_buffer_is_refused_and_the_buffer_kept():
    def count(self, x):
        self.norm.running_mean.add_(1)
        return self.fc(x)

    module, example = forward(count, fc=nn.Linear(4, 4), norm=nn.BatchNorm1d(4))
    with pytest.raises(Refused, match=r"^norm: has its 'running_mean' set in forward"):
        from_torch(module, example)
    assert not module.norm.running_mean.any()


def test_the_program_keeps_its_own_copy_of_the_weights():
    module = nn.Linear(3, 2)
    program = from_torch(module, torch.randn(1, 3))
    kept = program.sha256
    nn.init.zeros_(module.weight)
    operation = program.layers[0].operation
    assert isinstance(operation, Affine)
    assert operation.weight.any()
    assert program.sha256 == kept


def test_importing_convert_takes_no_torch():
    code = "import sys, convert; sys.exit('torch' in sys.modules or not callable(convert.from_torch))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_verify_bounds_the_rounding_of_a_delayed_reset():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 5), snn.Leaky(beta=0.9, init_hidden=True)).eval()
    program = from_torch(net, torch.randn(2, 3))
    x = np.random.default_rng(0).normal(size=(4, 30, 3)).astype(np.float32)
    backend = backends.load("numpy")
    exact, rounded = (simulate(program, x, backend, dtype, "cpu", lambda _: None) for dtype in ("float64", "float32"))
    verdict = verify(exact, rounded, program)
    assert verdict.passed
    assert not any("no rounding bound" in note for note in verdict.notes)
