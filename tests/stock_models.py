"""Run as a script: our integer operations against lava-nc's own process models, their ``run_spk``, on drawn integers.

A process of its own, since importing Lava fixes multiprocessing's start method.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_matrix

from simulators.backends.lava import compat
from spikestrip.operations import FixedAffine, FixedCurrent, FixedLIF, FixedReadout, FixedScale
from spikestrip.operations.fixed import held
from spikestrip.operations.fixed.words import message as sent_by_gradedvec

with compat.importable():
    from lava.proc.dense.models import PyDenseModelBitAcc
    from lava.proc.graded.models import PyGradedVecModelFixed
    from lava.proc.lif.models import PyLifModelBitAcc
    from lava.proc.sdn.models import PySigmaModelFixed
    from lava.proc.sparse.models import PyDelaySparseModelBitAcc, PySparseModelBitAcc

SIZE, STEPS = 5, 12
LARGEST = (1 << 31) - 1
ENDS = st.one_of(
    *(st.integers(end - 3, end) for end in (LARGEST, 0, 3 - LARGEST - 1)), st.integers(-LARGEST - 1, LARGEST)
)
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
    a=st.one_of(*map(currents, (300, 1 << 15, 1 << 17, 1 << 19, 1 << 25, (1 << 31) - 1))),
)
def lif(du: int, dv: int, vth: int, mant: np.ndarray, exp: int, a: np.ndarray) -> None:
    """Spikes, u and v in every step, with wraps of int32 and of u (once) and clips of v; du 4095 needs no current."""
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
    exp=integers(-20, 12),
    late=integers(0, 2),
    graded=st.booleans(),
    x=st.one_of(*(arrays(np.int64, (6, SIZE), elements=integers(-most, most)) for most in (1 << 14, 1 << 23, LARGEST))),
)
def synapses(weight: np.ndarray, exp: int, late: int, graded: bool, x: np.ndarray) -> None:
    """Dense, Sparse, DelaySparse: clip, even where signs are mixed, the shift of the sum, int32's wrap; a step late."""
    if not graded:
        x = (x > 0).astype(np.int64)
    word = held(weight)
    assume(np.array_equal(held(word), word))  # -256 whose positive neighbours all became 0 can't be given again
    ours = FixedAffine(word.T[None].astype(np.int16), np.array([exp], np.int8))
    expected = ours.step(np, {}, x.astype(float))[1]
    for kind in (PyDenseModelBitAcc, PySparseModelBitAcc, PyDelaySparseModelBitAcc):
        delay = late if kind is PyDelaySparseModelBitAcc else 0
        model = kind({"weight_exp": exp})
        model.weights, model.delays = weight.astype(np.int32), np.where(weight, delay, 0)
        if kind is not PyDenseModelBitAcc:
            model.weights, model.delays = csr_matrix(model.weights), csr_matrix(model.delays)
        model.a_buff = np.zeros((4, delay + 1) if kind is PyDelaySparseModelBitAcc else 4, np.int32)
        model.num_message_bits = np.array([24 if graded else 0])
        sent = np.array([stepped(model, "s_in", "a_out", message) for message in x])
        np.testing.assert_array_equal(sent[1 + delay :], expected[: -1 - delay], kind.__name__)
        assert not sent[: 1 + delay].any()


@CASES
@given(
    streams=arrays(np.int64, (3, SIZE), elements=ENDS),
    weight=arrays(np.int64, (4, SIZE), elements=integers(0, 255)),
    exp=integers(-9, 9),
)
def sums_of_streams(streams: np.ndarray, weight: np.ndarray, exp: int) -> None:
    """Streams that meet in a GradedVec (which sends -2^31 as 0), and what a Dense makes of its message."""
    theirs = PyGradedVecModelFixed({})
    theirs.v, theirs.vth = np.zeros(SIZE, np.int32), np.int32(0)
    port = np.zeros(SIZE, np.int32)  # PyInPort.recv adds in its dtype
    for stream in streams.astype(np.int32):
        port = port + stream
    sent = stepped(theirs, "a_in", "s_out", port)
    x = streams.sum(axis=0)[None].astype(float)  # a join adds without a width; whoever reads it wraps
    np.testing.assert_array_equal(sent_by_gradedvec(np, x)[0], sent)
    for ours, whole in (
        (FixedAffine(weight.T[None].astype(np.int16), np.array([exp], np.int8)), weight),
        (FixedScale(weight[:1].astype(np.int16), np.array([exp], np.int8)), np.diag(weight[0])),
    ):
        dense = PyDenseModelBitAcc({"weight_exp": exp})
        dense.weights, dense.num_message_bits = whole.astype(np.int32), np.array([24])
        dense.a_buff = np.zeros(len(whole), np.int32)
        stepped(dense, "s_in", "a_out", sent)
        np.testing.assert_array_equal(ours.step(np, {}, x)[1][0], dense.a_buff)


@CASES
@given(x=arrays(np.int64, (STEPS, SIZE), elements=ENDS))
def accumulator(x: np.ndarray) -> None:
    """Sigma."""
    theirs, state = PySigmaModelFixed({}), {"sigma": np.zeros((1, SIZE))}
    theirs.sigma = np.zeros(SIZE, np.int32)
    for message in x:
        state, ours = FixedReadout().step(np, state, message[None].astype(float))
        np.testing.assert_array_equal(ours[0], stepped(theirs, "a_in", "s_out", message))


@CASES
@given(
    words=arrays(np.int64, (2, SIZE, 4), elements=integers(0, 255)),
    exp=st.tuples(integers(-3, 20), integers(-3, 20)),
    x=arrays(np.int64, SIZE, elements=ENDS),
)
def several_words(words: np.ndarray, exp: tuple[int, int], x: np.ndarray) -> None:
    """Two Dense that meet in a port of int32."""
    x[x == -LARGEST - 1] = 0
    port = np.zeros(4, np.int32)
    for word, e in zip(words, exp, strict=True):
        model = PyDenseModelBitAcc({"weight_exp": e})
        model.weights, model.num_message_bits = word.T.astype(np.int32), np.array([24])
        model.a_buff = np.zeros(4, np.int32)
        stepped(model, "s_in", "a_out", x)
        port = port + model.a_buff
    ours = FixedAffine(words.astype(np.int16), np.array(exp, np.int8))
    np.testing.assert_array_equal(ours.step(np, {}, x[None].astype(float))[1][0], port)


if __name__ == "__main__":
    lif()
    synapses()
    sums_of_streams()
    accumulator()
    several_words()
