"""A graph of others is verified by the rules that its traces ran by."""

from __future__ import annotations

from pathlib import Path

import nir
import numpy as np
import pytest
from commands import run
from test_nir_foreign import lone

import spikestrip as ss
from deploy.fit import command as fit
from deploy.verify import command as verify
from simulators.run import command as simulate

TOLD = ("--dt", "1e-3", "--integrate", "exponential", "--compare", "ge", "--reset", "soft")


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    ones = np.ones(4)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).uniform(0, 2, (2, 200, 4)))
    return lone(tmp_path / "foreign.nir", nir.LIF(5e-3 * ones, ones, 0 * ones, 0.8 * ones, 0 * ones), (4,))


def recorded(graph: Path, name: str, backend: str, *rules: str) -> Path:
    out = graph.with_name(name)
    done = run(simulate, graph, "--backend", backend, "--input", graph.with_name("x.npy"), *rules, "-o", out)
    assert done.code == 0, done.stderr
    return out


def test_a_foreign_graph_run_by_other_rules_verifies(graph: Path) -> None:
    a = recorded(graph, "a.h5", "numpy", *TOLD)
    b = recorded(graph, "b.h5", "onnxruntime", *TOLD, "--dtype", "float32")
    assert ss.read(a).spikes["one"].sum() > 50
    assert run(verify, a, b, "--program", graph, *TOLD).code == 0
    done = run(verify, a, b, "--program", graph)  # by the default rules it is another program
    assert (done.code, "another one" in done.stderr) == (2, True)
    program = ss.load(graph, dt=1e-3, integrate="exponential", compare="ge", reset="soft")
    assert ss.verify(ss.read(a), ss.read(b), program).passed


def test_both_programs_are_read_by_the_rules(graph: Path) -> None:
    a = recorded(graph, "a.h5", "numpy", *TOLD)
    given = ("--program", graph, "--trace-program", graph, "--reference-program", graph)
    assert run(verify, a, a, *given, *TOLD).code == 0
    assert run(verify, a, a, *given).code == 2


def test_fit_reads_the_graph_by_the_rules_of_its_trace(graph: Path) -> None:
    a = recorded(graph, "a.h5", "numpy", *TOLD)
    given = ("--chip", "loihi2", "--trace", a)
    assert run(fit, graph, *given, *TOLD).code in (0, 1)  # judged
    assert run(fit, graph, *given).code == 2  # of another program


def test_rules_without_a_graph_are_refused(graph: Path) -> None:
    a = recorded(graph, "a.h5", "numpy")
    done = run(verify, a, a, "--dt", "1e-3")
    assert (done.code, done.stderr.count("\n")) == (2, 1)
    assert "--program" in done.stderr
