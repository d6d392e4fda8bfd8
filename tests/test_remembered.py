"""Replays that are remembered: made once, and the verdicts are those of replays that are made again."""

from __future__ import annotations

import numpy as np
import programs

from deploy.verification.remembered import Remembered
from deploy.verify import verify
from simulators.run import simulate

CALLED = []


def negated(piece):
    CALLED.append(piece)
    return -piece


def test_what_is_the_same_is_computed_once_and_what_is_given_is_the_callers():
    over = Remembered()
    pieces = [np.zeros(3), np.ones(3), np.zeros(3), np.zeros(3, np.float32)]
    first = list(over(negated, pieces))
    assert len(CALLED) == 3
    first[0][:] = 7
    again = list(over(negated, pieces))
    assert len(CALLED) == 3
    for found, piece in zip(again, pieces, strict=True):
        np.testing.assert_array_equal(found, -piece)
        assert found.dtype == piece.dtype


def test_verdicts_are_the_same():
    program = programs.network(np.random.default_rng(0), inputs=1, hidden=10, classes=4)
    x = programs.gaussian(np.random.default_rng(1), program, 20, 30)
    reference, over = simulate(program, x), Remembered()
    for flipped in ((), (3, 20, 4), (19, 29, 1), ()):
        trace = simulate(program, x)
        name = list(trace.spikes)[-1]
        if flipped:
            trace.spikes[name] = trace.spikes[name].copy()
            trace.spikes[name][flipped] ^= 1
        assert verify(reference, trace, program, over=over).to_dict() == verify(reference, trace, program).to_dict()
