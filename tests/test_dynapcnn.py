"""A Speck's configuration: the stub is told from SynSense's samna without an import; sinabs' builder gets our numbers.

samna itself is nowhere to be had here: a recorder stands in for it, so that what sinabs would write can be read.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest.mock import MagicMock

import commands
import numpy as np
import pytest

pytest.importorskip("sinabs.layers")

import spikestrip as ss
from deploy.fit import command
from simulators.backends.sinabs import dynapcnn
from spikestrip.errors import Refused
from spikestrip.operations import Affine, Conv2d, FixedIF, Flatten, Join, MultiSpikeIF, SumPool2d
from spikestrip.program import INPUT, Layer, Program, chain


def network() -> Program:
    rng = np.random.default_rng(0)

    def weights(*shape: int) -> np.ndarray:
        return rng.integers(-128, 128, shape).astype(np.float32)

    pads = {"pad_top": 1, "pad_bottom": 1, "pad_left": 1, "pad_right": 1}
    several = MultiSpikeIF(np.full((3, 4, 4), 90.0), np.full((3, 4, 4), -91.0))
    layers = [
        ("n0_conv", Conv2d(weights(4, 2, 3, 3), **pads)),
        ("n1_spike", FixedIF(200, soft=False)),
        ("n2_pool", SumPool2d(2, 2, 2, 2)),
        ("n3_conv", Conv2d(weights(3, 4, 3, 3), **pads)),
        ("n4_spike", several),
        ("n5_flat", Flatten()),
        ("n6_mix", Affine(weights(5, 48))),
        ("n7_spike", FixedIF(300)),
    ]
    return chain((2, 8, 8), layers, "count")


class Installed:
    """What importlib.metadata says of a package."""

    def __init__(self, *files: str) -> None:
        self.files = [Path(file) for file in files]


@pytest.fixture
def samna(monkeypatch: pytest.MonkeyPatch) -> Iterator[MagicMock]:
    """A recorder in samna's place: a configuration of nine cores that keeps whatever is set."""

    class Recorded:
        def __init__(self) -> None:
            self.dvs_layer = SimpleNamespace()
            self.cnn_layers = [
                SimpleNamespace(destinations=[SimpleNamespace(pooling=1), SimpleNamespace(pooling=1)]) for _ in range(9)
            ]

        def to_json(self) -> str:
            return json.dumps(self, default=lambda value: value.tolist() if hasattr(value, "tolist") else vars(value))

    before = set(sys.modules)
    fake = MagicMock()
    fake.speck2f.validate_configuration = lambda config: (True, "")
    for name in ("samna", "samnagui", "samna.speck2e", "samna.speck2f"):
        monkeypatch.setitem(sys.modules, name, fake)
    for chip in ("speck2e", "speck2f"):
        module = ModuleType(f"samna.{chip}.configuration")
        module.SpeckConfiguration = Recorded  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(dynapcnn, "distribution", lambda name: Installed("samna/__init__.py", "samna/_samna.so"))
    yield fake
    for name in set(sys.modules) - before:
        if name.startswith("sinabs.backend"):
            del sys.modules[name]


def test_the_stub_is_told_without_an_import(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "isn't installed" in (dynapcnn.missing() or "")
    monkeypatch.setattr(
        dynapcnn, "distribution", lambda name: Installed("samna/__init__.py", "samna-0.48.6.dist-info/RECORD")
    )
    assert "PyPI's stub" in (dynapcnn.missing() or "")
    monkeypatch.setattr(
        dynapcnn, "distribution", lambda name: Installed("samna/_samna.cpython-311-x86_64-linux-gnu.so")
    )
    assert dynapcnn.missing() is None
    assert "samna" not in sys.modules


def test_without_samna_the_command_answers_and_says_what_is_missing(tmp_path: Path) -> None:
    ss.save(network(), tmp_path / "q.nir")
    done = commands.run(command, tmp_path / "q.nir", "--chip", "speck2f", "--samna", tmp_path / "c.json")
    assert done.code == 2
    assert "fits on 3 cores" in done.stdout
    assert "samna isn't installed" in done.stderr
    assert not (tmp_path / "c.json").exists()
    assert "samna" not in sys.modules


def test_sinabs_writes_our_integers(samna: MagicMock, tmp_path: Path) -> None:
    program = network()
    ss.save(program, tmp_path / "q.nir")
    done = commands.run(command, tmp_path / "q.nir", "--chip", "speck2f", "--samna", tmp_path / "c.json")
    assert done.code == 0, done.stderr
    written = json.loads((tmp_path / "c.json").read_text())["cnn_layers"]
    used = [core for core in written if "weights" in core]
    assert len(used) == 3
    by_threshold = {core["threshold_high"]: core for core in used}
    for threshold, low, to_zero, name, following in (
        (200, -32768, True, "n0_conv", (90, 2)), (90, -91, False, "n3_conv", (300, 1)),
        (300, -32768, False, "n6_mix", None),
    ):  # fmt: skip
        core = by_threshold[threshold]
        operation = program[name].operation
        assert isinstance(operation, Conv2d | Affine)
        weight = operation.weight.reshape(
            -1, *(operation.weight.shape[1:] if operation.weight.ndim == 4 else (3, 4, 4))
        )
        np.testing.assert_array_equal(np.array(core["weights"]), weight.swapaxes(2, 3))  # samna counts x before y
        assert (core["threshold_low"], core["return_to_zero"]) == (low, to_zero)
        assert not np.any(core["biases"])
        assert not core["leak_enable"]
        sent = [each for each in core["destinations"] if each.get("enable")]
        if following is None:
            assert not sent
            assert core["monitor_enable"]
        else:
            (destination,) = sent
            assert written[destination["layer"]]["threshold_high"] == following[0]
            assert destination["pooling"] == following[1]


def test_a_network_that_branches_is_refused() -> None:
    rng = np.random.default_rng(0)
    first = Affine(rng.integers(-5, 5, (3, 2)).astype(np.float32))
    layers = (
        Layer("a", first, (INPUT,)), Layer("b", FixedIF(3), ("a",)),
        Layer("c", first, (INPUT,)), Layer("d", FixedIF(3), ("c",)), Layer("e", Join(), ("b", "d")),
    )  # fmt: skip
    with pytest.raises(Refused, match="c: doesn't follow b"):
        dynapcnn.chain(Program((2,), layers, "e"))
