"""y += z and inplace=True: the program is what torch computes, whatever else reads that memory, or it is refused."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'spikestrip[train]'")
snn = pytest.importorskip("snntorch", reason="snntorch is not installed: pip install snntorch")
nn: Any = torch.nn
F: Any = torch.nn.functional

from convert import from_torch  # noqa: E402
from simulators.run import simulate  # noqa: E402
from spikestrip.errors import Refused  # noqa: E402

SIZE = 5


def _iadd(y: Any, z: Any) -> Any:
    y += z
    return y


def _isub(y: Any, z: Any) -> Any:
    y -= z
    return y


STATEMENTS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "b = a": lambda net, a, b: a,
    "b = fc(a)": lambda net, a, b: net.fc(a),
    "b = a + b": lambda net, a, b: a + b,
    "b += a": lambda net, a, b: _iadd(b, a),
    "b -= a": lambda net, a, b: _isub(b, a),
    "b *= 2": lambda net, a, b: operator.imul(b, 2.0),
    "b /= 4": lambda net, a, b: operator.itruediv(b, 4.0),
    "b = view(a)": lambda net, a, b: a.unsqueeze(1).squeeze(1),
    "b = flat(a)": lambda net, a, b: net.flat(a),
    "b = keep(a)": lambda net, a, b: net.keep(a),
    "b = relu_(a)": lambda net, a, b: F.relu(a, inplace=True),
    "b = relu(a)": lambda net, a, b: net.relu(a),
    "b = relu6(a, True)": lambda net, a, b: F.relu6(a, True),
}
Line = tuple[str, int, int]


class Written(nn.Module):
    """Forward is ``lines``: a statement, its a and its b among three variables, which begin as layers' outputs."""

    def __init__(self, lines: list[Line]) -> None:
        super().__init__()
        self.lines = lines
        self.first, self.second, self.third, self.fc = (nn.Linear(SIZE, SIZE) for _ in range(4))
        self.flat, self.keep, self.relu = nn.Flatten(), nn.Dropout(), nn.ReLU(inplace=True)
        self.out = snn.Leaky(beta=0.5, threshold=0.1, init_hidden=True)

    def forward(self, x: Any) -> Any:
        held = [self.first(x), self.second(x), self.third(x)]
        for statement, a, b in self.lines:
            held[b] = STATEMENTS[statement](self, held[a], held[b])
        return self.out(held[0] - held[1] + 3 * held[2])


def run(lines: list[Line]) -> tuple[np.ndarray, np.ndarray]:
    """Spikes (B, T, SIZE) of the module and of its program; the example is 0, so that the check on it sees little."""
    torch.manual_seed(0)
    net = Written(lines).double().eval()
    program = from_torch(net, torch.zeros(1, SIZE, dtype=torch.float64))
    x = torch.randn(3, 6, SIZE, dtype=torch.float64)
    with torch.no_grad():
        theirs = np.stack([net(x[:, t].clone()).numpy() for t in range(x.shape[1])], 1)
    (ours,) = simulate(program, x.numpy()).spikes.values()
    return theirs, ours


@given(st.lists(st.tuples(st.sampled_from([*STATEMENTS]), st.integers(0, 2), st.integers(0, 2)), max_size=6))
def test_it_is_what_torch_computes_or_refused(lines: list[Line]) -> None:
    try:
        theirs, ours = run(lines)
    except Refused as refused:
        event("refused")
        reason = str(refused)
    else:
        event("followed")
        reason = "changes in place" if np.array_equal(theirs, ours) else "another network"
    assert "changes in place" in reason


@pytest.mark.parametrize("lines", [
    [("b = fc(a)", 1, 0), ("b += a", 2, 0)],
    [("b = fc(a)", 1, 0), ("b = fc(a)", 0, 1), ("b += a", 1, 0), ("b *= 2", 0, 0), ("b -= a", 2, 0)],
    [("b = fc(a)", 1, 0), ("b = relu(a)", 0, 0), ("b /= 4", 0, 0)],
    [("b = view(a)", 0, 0), ("b += a", 1, 0), ("b = relu_(a)", 0, 0)],
], ids=["residual", "read before", "relu", "view"])  # fmt: skip
def test_what_nobody_else_reads_is_followed(lines: list[Line]) -> None:
    theirs, ours = run(lines)
    assert np.array_equal(theirs, ours)
    assert ours.any()


@pytest.mark.parametrize(("lines", "way"), [
    ([("b = a", 0, 1), ("b += a", 2, 0)], r"iadd\(\).*y = y \+ z"),
    ([("b = view(a)", 0, 1), ("b *= 2", 0, 1)], r"imul\(\).*y = y \+ z"),
    ([("b = flat(a)", 0, 1), ("b = relu(a)", 1, 1)], "relu: changes in place.*inplace=False"),
    ([("b = keep(a)", 0, 1), ("b = relu6(a, True)", 1, 1)], r"relu6\(\).*inplace=False"),
], ids=["another name", "a view", "a layer's view", "dropout that does nothing"])  # fmt: skip
def test_what_is_read_afterwards_is_refused(lines: list[Line], way: str) -> None:
    with pytest.raises(Refused, match=way):
        run(lines)


def test_what_a_neuron_may_keep_and_the_input_are_refused() -> None:
    class Spikes(Written):
        def forward(self, x: Any) -> Any:
            return _iadd(self.out(self.first(x)), self.second(x))

    class Input(Written):
        def forward(self, x: Any) -> Any:
            return self.out(self.first(F.relu(x, inplace=True)))

    for kind, holder in ((Spikes, "out"), (Input, "x")):
        with pytest.raises(Refused, match=f"in place what '{holder}' holds"):
            from_torch(kind([]).eval(), torch.zeros(1, SIZE))
