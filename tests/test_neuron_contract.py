"""What every neuron promises: ``excess`` decides as ``fire`` does, ties and their neighbours included; dtypes hold."""

import dataclasses
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators import backends
from spikestrip.errors import Refused
from spikestrip.operations import LIF, Bernoulli, RefractoryLIF, SpikingOperation, Threshold
from spikestrip.program import chain

finite = st.floats(-(2.0**99), 2.0**99, width=32)


def neurons(threshold: float) -> dict[str, SpikingOperation]:
    one, vth = np.ones(1), np.array([threshold])
    return {
        "lif": LIF(one, vth),
        "lif_gt": LIF(one, vth, comparison="gt"),
        "refractory": RefractoryLIF(one, vth, one, one),
        "threshold": Threshold(vth),
        "threshold_ge": Threshold(vth, "ge"),
        "bernoulli": Bernoulli(np.ones(1, np.float32), np.zeros(1, np.float32)),
    }


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", list(neurons(1.0)))
@given(threshold=finite, other=finite)
def test_excess_decides_as_fire_does(kind: str, dtype: Any, threshold: float, other: float) -> None:
    neuron = neurons(threshold)[kind].bind(lambda array: array.astype(dtype))
    limit = dtype(0 if kind == "bernoulli" else threshold)
    near = [limit, np.nextafter(limit, dtype(np.inf)), np.nextafter(limit, dtype(-np.inf)), dtype(other)]
    u = np.array(near, dtype)[:, None]
    strict = kind in ("lif_gt", "threshold", "bernoulli")
    expected = [float(value) > float(limit) if strict else float(value) >= float(limit) for value in near]
    excess = neuron.excess(np, {}, u)
    assert neuron.fire({}, u)[:, 0].tolist() == expected
    assert (excess > 0 if strict else excess >= 0)[:, 0].tolist() == expected


@dataclasses.dataclass(eq=False)
class Wide(Threshold):
    """A neuron that only float64 holds."""

    dtypes: ClassVar[tuple[str, ...]] = ("float64",)


def test_a_backend_refuses_a_dtype_that_an_operation_does_not_hold() -> None:
    program = chain((1,), [("n0", Wide(np.ones(1)))])
    numpy = backends.load("numpy")
    backends.check(numpy, program, "float64", "cpu")
    with pytest.raises(Refused, match=r"layer n0 \(threshold\): can't be held exactly in float32; run it in float64"):
        backends.check(numpy, program, "float32", "cpu")
