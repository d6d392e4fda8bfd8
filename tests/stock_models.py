"""Run as a script: our integer operations against lava-nc's own process models, their ``run_spk``, on drawn integers.

A process of its own, since importing Lava fixes multiprocessing's start method.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_matrix

from simulators.backends.lava import compat
from spikestrip.operations import FixedAffine, FixedCurrent, FixedLIF
from spikestrip.operations.fixed import held

with compat.importable():
    from lava.proc.dense.models import PyDelayDenseModelBitAcc, PyDenseModelBitAcc
    from lava.proc.lif.models import PyLifModelBitAcc
    from lava.proc.sparse.models import PySparseModelBitAcc

SIZE, STEPS = 5, 12
integers = st.integers
CASES = settings(max_examples=150, deadline=None, database=None)


def stepped(model: Any, received: str, sent: str, message: np.ndarray) -> np.ndarray:
    """One ``run_spk``: what the model sends for ``message``."""
    box: list[np.ndarray] = []
    setattr(model, received, SimpleNamespace(recv=lambda: message.astype(np.int32)))
    setattr(model, sent, SimpleNamespace(send=lambda values: box.append(np.array(values))))
    model.run_spk()
    return box[0]


def currents(most: int) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.int64, (STEPS, SIZE), elements=integers(-most, most))


@CASES
@given(
    du=integers(0, 4095),
    dv=integers(0, 4095),
    vth=integers(0, (1 << 17) - 1),
    mant=arrays(np.int64, SIZE, elements=integers(-4096, 4095)),
    exp=integers(-7, 7),
    a=st.one_of(currents(1 << 15), currents(1 << 17), currents(1 << 19), currents(300)),
)
def lif(du: int, dv: int, vth: int, mant: np.ndarray, exp: int, a: np.ndarray) -> None:
    """Spikes, u and v in every step, with wraps of u (once) and clips of v; du 4095 needs no current of its own."""
    model = PyLifModelBitAcc({})
    model.u, model.v = np.zeros(SIZE, np.int32), np.zeros(SIZE, np.int32)
    model.du, model.dv, model.vth = np.uint16(du), np.uint16(dv), np.int32(vth)
    model.bias_mant, model.bias_exp = mant.astype(np.int16), np.full(SIZE, exp, np.int16)
    current, neuron = FixedCurrent(du), FixedLIF(dv, vth, mant, exp, align=0)
    alone = FixedLIF(dv, vth, mant, exp)
    u = {"u": np.zeros((1, SIZE))}
    v, other = {"v": np.zeros((1, SIZE))}, {"v": np.zeros((1, SIZE))}
    for message in a:
        theirs = stepped(model, "a_in", "s_out", message)
        x = message[None].astype(float)
        u, y = current.step(np, u, x)
        v, ours = neuron.step(np, v, y)
        np.testing.assert_array_equal(ours[0], theirs)
        np.testing.assert_array_equal(u["u"][0], model.u)
        np.testing.assert_array_equal(v["v"][0], model.v)
        if du == 4095:
            other, ours = alone.step(np, other, x)
            np.testing.assert_array_equal(other["v"], v["v"])


@CASES
@given(
    weight=st.one_of(
        arrays(np.int64, (4, SIZE), elements=integers(-400, 400)),
        arrays(np.int64, (4, SIZE), elements=integers(0, 300)),
        arrays(np.int64, (4, SIZE), elements=integers(-300, 0)),
    ),
    exp=integers(-20, 6),
    late=integers(0, 2),
    graded=st.booleans(),
    x=arrays(np.int64, (6, SIZE), elements=integers(-(1 << 14), 1 << 14)),
)
def synapses(weight: np.ndarray, exp: int, late: int, graded: bool, x: np.ndarray) -> None:
    """Dense, Sparse and DelayDense: clip, even where signs are mixed, the shift of the sum; one step late."""
    if not graded:
        x = (x > 0).astype(np.int64)
    word = held(weight)
    ours = FixedAffine(word.T[None].astype(np.int16), np.array([exp], np.int8))
    expected = ours.step(np, {}, x.astype(float))[1]
    for kind in (PyDenseModelBitAcc, PySparseModelBitAcc, PyDelayDenseModelBitAcc):
        delay = late if kind is PyDelayDenseModelBitAcc else 0
        model = kind({"weight_exp": exp})
        model.weights = weight.astype(np.int32)
        if kind is PySparseModelBitAcc:
            model.weights = csr_matrix(model.weights)
        model.a_buff = np.zeros((4, late + 1) if delay or kind is PyDelayDenseModelBitAcc else 4, np.int32)
        model.delays = np.full(weight.shape, delay)
        model.num_message_bits = np.array([24 if graded else 0])
        sent = np.array([stepped(model, "s_in", "a_out", message) for message in x])
        np.testing.assert_array_equal(sent[1 + delay :], expected[: -1 - delay], kind.__name__)
        assert not sent[: 1 + delay].any()


if __name__ == "__main__":
    lif()
    synapses()
