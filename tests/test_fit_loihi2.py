"""fit on Loihi 2: memory counted by hand, the published shapes, loads against spikes counted one by one."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from commands import run
from programs import gaussian, network

from convert.lowering.loihi2 import loihi2
from convert.lowering.loihi2_microcode import microcode
from deploy.fit import command, fit
from deploy.fitting import chip as chips
from deploy.fitting.demands import ROWS, groups
from deploy.fitting.measured import Measured
from deploy.fitting.placement import at_least, costs, fill, limits, placements
from simulators.conformance import integers
from simulators.run import simulate
from spikestrip.errors import Refused
from spikestrip.operations import GLU, LIF, OPERATIONS, S4D, Affine, Join, LeakyIntegrator, Scale
from spikestrip.program import Layer, Program, chain

LOIHI2 = chips.read("loihi2")


def zeros(*shape: int) -> np.ndarray:
    """An array that takes no memory: fit looks at shapes alone."""
    return np.broadcast_to(np.float32(0), shape)


def published(hidden: int, modes: int, blocks: int) -> Program:
    """SpikingSSM as its code configures it: an SSM, spikes, a matrix to 2H and a gate in each block, and the stream."""
    layers: list[Layer] = []
    stream = "input"
    for block in range(blocks):
        ssm, spike, mix, gate, join = (f"n{block:02}{part}" for part in "abcde")
        layers += [
            Layer(ssm, S4D(*(zeros(modes, hidden),) * 6, zeros(hidden)), (stream,)),
            Layer(spike, LIF(zeros(hidden), zeros(hidden)), (ssm,)),
            Layer(mix, Affine(zeros(2 * hidden, hidden)), (spike,)),
            Layer(gate, GLU(), (mix,)),
            Layer(join, Join(), (gate, stream)),
        ]
        stream = join
    return Program((hidden,), tuple(layers), stream)


def test_smnist_as_published_needs_five_cores_for_its_weights() -> None:
    answer = fit(published(400, 32, 2), LOIHI2)  # 2 * 800 * 400 bytes = 4.9 * 128 KiB
    assert answer.at_least["weights_alone"] == 5
    assert answer.at_least["synaptic_memory"] == 5  # with the values between layers, 4 * 400 each block
    assert answer.fits
    assert answer.cores is not None
    assert answer.cores >= 5
    assert "fits on" in answer.sentence


def test_wikitext_as_published_is_more_than_a_chip() -> None:
    answer = fit(published(1024, 32, 16), LOIHI2)  # 16 * 2048 * 1024 bytes = 256 * 128 KiB
    assert answer.at_least["weights_alone"] == 256
    assert not answer.fits
    assert "120 of 128 are usable" in answer.sentence
    (reason,) = answer.reasons
    assert reason.cause == "cores"
    assert "on 3 chips" in reason.remedy
    assert answer.cores is not None
    assert answer.at_least["synaptic_memory"] > 256  # the values between layers are weights too
    assert answer.cores > 256


def test_what_a_network_takes_counted_by_hand() -> None:
    """Encoder 2 -> 4 read by the SSM and by the skip: it adds in neurons of its own. The mix lies with the join."""
    program = Program(
        (2,),
        (
            Layer("a_encoder", Affine(zeros(4, 2), zeros(4)), ("input",)),
            Layer("b_ssm", S4D(*(zeros(3, 4),) * 6, zeros(4)), ("a_encoder",)),
            Layer("c_spike", LIF(zeros(4), zeros(4)), ("b_ssm",)),
            Layer("d_mix", Affine(zeros(4, 4)), ("c_spike",)),
            Layer("e_skip", Scale(zeros(4)), ("a_encoder",)),
            Layer("f_join", Join(), ("d_mix", "e_skip")),
            Layer("g_head", Affine(zeros(3, 4)), ("f_join",)),
            Layer("h_readout", LeakyIntegrator(zeros(3)), ("g_head",)),
            Layer("i_mix", Affine(zeros(6, 3), zeros(6)), ("h_readout",)),
            Layer("j_gate", GLU(), ("i_mix",)),
        ),
        "j_gate",
    )
    found = {group.name: (group.neurons, group.synapses, group.bits) for group in groups(program, LOIHI2)}
    assert found == {
        "a_encoder": (4, 2, 24 + 24),  # the sum, its bias
        "b_ssm": (4, 1, 3 * (2 * 24 + 6 * 16) + 16),  # a mode: two states and six coefficients; d
        "c_spike": (4, 1, 24 + 12 + 17),
        "f_join": (4, 4 + 1, 24),
        "h_readout": (3, 4, 24 + 12),
        "j_gate": (3, 2 * 3, 2 * 24),  # two rows and their biases
    }


def test_what_the_stock_mapping_takes_counted_by_hand() -> None:
    """Two words but in the skip; 3 modes: 6 states and the input are 7 graded neurons for each of 6 channels."""
    program = integers.network(np.random.default_rng(1))
    found = {group.name: (group.neurons, group.synapses, group.bits) for group in groups(program, LOIHI2)}
    # a state is reached by itself, by re and im of its mode in each word of A - 1, by a constant, and by words of B
    assert found == {
        "n00_encoder": (6, 2 * 2, 24 + 24),
        "n01_ssm": (6, 6 * (1 + 2 * 2 + 1 + 2) + 1, 7 * 24),
        "n02_spike": (6, 2 * 7, 24),
        "n05_join": (6, 2 * 6 + 1, 24 + 24),
        "n07_readout": (4, 2 * 6, 24 + 24),
        "z_reals": (4, 1, 24),
    }
    x = np.random.default_rng(2).random((2, 15, 2))
    seen = Measured(simulate(program, x), "test")
    spikes = seen.run.spikes["n02_spike"].sum(axis=2).reshape(-1)
    for answer in (fit(program, LOIHI2), fit(program, LOIHI2, seen)):
        assert answer.totals["neurons"] == {"max": 6 + 6 * 7 + 6 + 6 + 4 + 4}
        # the encoder's to the SSM and to the join; the SSM's to the neurons, and 36 states to themselves
        graded = 2 * 6 + (42 + 36) + 6 + 4 + 4
        most = 6 if answer.measured is None else spikes.max()
        assert answer.totals["messages"]["max"] == graded + most
        assert any("outside -8..7" in line and "n01_ssm" in line for line in answer.unknown)
    assert answer.totals["messages"]["mean"] == pytest.approx(graded + spikes.mean())
    done = seen.operations("n00_encoder") + seen.operations("n03_mix") + seen.operations("n04_skip")
    done = done + seen.operations("n06_head") + seen.operations("z_reals") + 6 * (6 * 6 + 6 * 2 + 1) + 6 * 2 * 7
    assert answer.totals["synaptic_operations"] == {"max": done.max(), "mean": pytest.approx(done.mean())}


def test_an_ssm_of_integers_that_no_neurons_read_is_refused() -> None:
    layers = integers.network(np.random.default_rng(1)).layers[:3]
    with pytest.raises(Refused, match=r"n01_ssm.*is read by what isn't one layer of neurons"):
        fit(Program((2,), layers, "n01_ssm"), LOIHI2)


def test_two_mappings_side_by_side(tmp_path: Path) -> None:
    """The microcode's SSM is a neuron for each channel, which sends y alone."""
    import spikestrip as ss

    rng = np.random.default_rng(5)
    program = network(rng, inputs=2, hidden=8, modes=4, blocks=1, neuron="hard")
    program = dataclasses.replace(program, layers=tuple(
        dataclasses.replace(layer, operation=LIF(np.full(8, 0.125), np.ones(8)))
        if isinstance(layer.operation, LIF) else layer for layer in program.layers
    ))  # fmt: skip
    x = gaussian(rng, program, 2, 30)
    np.save(tmp_path / "x.npy", x.astype(np.float32))
    for name, lowered in (("stock", loihi2(program, x)), ("micro", microcode(program, x))):
        ss.save(lowered.program, tmp_path / f"{name}.nir")
    models = (tmp_path / "stock.nir", tmp_path / "micro.nir")
    done = run(command, *models, "--chip", "loihi2", "--input", tmp_path / "x.npy", "--json", tmp_path / "fit.json")
    assert done.code == 0, done.stderr
    assert "side by side" in done.stdout
    stock, micro = json.loads((tmp_path / "fit.json").read_text())["compared"]
    schema = json.loads((chips.CHIPS.parent / "fitting" / "fit.schema.json").read_text())
    for found in (stock, micro):
        check(found, schema, schema)
        assert found["cores"] == 1
        assert found["placements"][0]["step_seconds_at_least"] is None
    assert stock["totals"]["neurons"]["max"] - micro["totals"]["neurons"]["max"] == 8 * 9 - 8
    spared = stock["totals"]["messages"]["mean"] - micro["totals"]["messages"]["mean"]
    assert 8 * (9 + 8) - 8 - 8 < spared < 8 * (9 + 8) - 8 + 8  # but for spikes that differ, 8 at the most in a step
    for arguments, said in (
        ((models[0], models[0]), "MODEL is given twice"),
        ((*models, "--trace", "t.h5"), "are of one model"),
    ):
        refused = run(command, *arguments, "--chip", "loihi2")
        assert refused.code == 2
        assert said in refused.stderr.replace(":", "")


def test_every_operation_has_a_row_and_one_without_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(OPERATIONS) <= set(ROWS)
    monkeypatch.delitem(ROWS, "glu")
    with pytest.raises(Refused, match=r"n00d.*glu"):
        fit(published(4, 2, 1), LOIHI2)


@pytest.mark.parametrize("seed", range(4))
def test_a_placement_holds_every_neuron_once_within_limits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    program = network(rng, hidden=40, modes=6, mix="glu", norm="layer")
    parts = groups(program, LOIHI2)
    cost = costs(parts, LOIHI2, [float(group.synapses) for group in parts])
    limit = np.array([60, 5000, 900, np.inf])
    for placement in placements(parts, cost, limit, usable=60):
        held: dict[str, list[int]] = {group.name: [] for group in parts}
        for slices in placement.cores:
            used = np.zeros(4)
            for group, row in zip(parts, cost, strict=True):
                first, last = slices.get(group.name, (0, 0))
                held[group.name] += range(first, last)
                used += (last - first) * row
            assert (used <= limit * (1 + 1e-9)).all()
        assert held == {group.name: list(range(group.neurons)) for group in parts}
        assert len(placement.cores) >= max(at_least(parts, cost, limit).values())


def test_even_placements_take_no_more_cores_and_less_of_each() -> None:
    parts = groups(published(400, 32, 2), LOIHI2)
    cost = costs(parts, LOIHI2, [float(group.synapses) for group in parts])
    found = {placement.name: placement for placement in placements(parts, cost, limits(LOIHI2), 120)}
    packed, mixed, memory, traffic, spread = found.values()

    def largest(cores: tuple[dict[str, tuple[int, int]], ...], resource: int) -> float:
        rows = {group.name: cost[index, resource] for index, group in enumerate(parts)}
        return max(sum((b - a) * rows[name] for name, (a, b) in core.items()) for core in cores)

    assert len(memory.cores) == len(traffic.cores) == len(packed.cores)
    assert len(spread.cores) <= 120
    assert largest(memory.cores, 2) < largest(packed.cores, 2)
    assert largest(traffic.cores, 3) <= largest(packed.cores, 3)
    assert len(mixed.cores) < len(packed.cores)
    assert largest(spread.cores, 3) < largest(traffic.cores, 3)


def test_one_neuron_larger_than_a_core_is_named() -> None:
    program = chain((131_073,), [("mix", Affine(zeros(1, 131_073))), ("spike", LIF(zeros(1), zeros(1)))])
    answer = fit(program, LOIHI2)
    assert answer.cores is None
    assert [reason.cause for reason in answer.reasons] == ["neuron_size"]
    assert "131,073 of a core's 131,072" in answer.sentence
    assert fill(groups(program, LOIHI2), np.array([[1, 131_073, 7, 0]]), limits(LOIHI2)) is None


@pytest.fixture
def measured() -> tuple[Program, Measured]:
    rng = np.random.default_rng(3)
    program = network(rng, inputs=2, hidden=12, modes=3, blocks=1, classes=4)
    return program, Measured(simulate(program, gaussian(rng, program, 3, 20)), "test")


def small(tmp_path: Path, **values: float) -> chips.Chip:
    """Loihi 2 with cores of 8 neurons, and the given seconds of a step's terms."""
    text = (chips.CHIPS / "loihi2.toml").read_text().replace("value = 8192", "value = 8")
    for name, value in values.items():
        text = text.replace(f"[step_time.{name}]", f"[step_time.{name}]\nvalue = {value}")
    path = tmp_path / "small.toml"
    path.write_text(text)
    return chips.read(str(path))


def test_loads_are_those_of_spikes_counted_one_by_one(measured: tuple[Program, Measured], tmp_path: Path) -> None:
    program, seen = measured
    answer = fit(program, small(tmp_path), seen)
    spikes = seen.run.spikes["n02_block0_spike"]
    packed = {core.index: core for core in answer.placed}
    reading = sum("n04_block0_join" in core.layers for core in packed.values())
    assert reading > 1
    for core in packed.values():
        others = set(core.layers) - {"n02_block0_spike"}
        first, last = core.layers.get("n02_block0_spike", (0, 0))
        values = sum(core.layers[name][1] - core.layers[name][0] for name in others if name == "n01_block0_ssm")
        if others <= {"n01_block0_ssm"} and last > first:
            sent = [
                values + reading * sum(int(spikes[b, t, n]) for n in range(first, last))
                for b, t in itertools.product(range(3), range(20))
            ]
            assert core.load["messages_out"] == {"max": max(sent), "mean": pytest.approx(np.mean(sent))}
            break
    else:
        pytest.fail("no core of spikes alone")
    # all operations of all cores: those of the ledger, and one addition for each message that meets no weight
    total = sum(core.load["synaptic_operations"]["mean"] for core in packed.values())
    ledger = sum((seen.operations(name).mean() for name in ("n00_encoder", "n03_block0_mix", "n05_head")), 0.0)
    direct = 12 + 12 + 12  # encoder -> SSM, SSM -> spike, encoder -> join
    assert total == pytest.approx(ledger + direct)


def test_the_step_takes_the_barrier_and_the_slowest_load(measured: tuple[Program, Measured], tmp_path: Path) -> None:
    program, seen = measured
    assert fit(program, small(tmp_path), seen).placements[0]["step_seconds_at_least"] is None
    known = small(tmp_path, barrier=2.0, neuron_update=1.0, synaptic_operation=0.0, message=0.0)
    answer = fit(program, known, seen)
    best, *others = answer.placements
    held = sum(last - first for core in answer.placed for first, last in core.layers.values())
    for each in (best, *others):  # the mean core, beside the largest: however the neurons are placed, they are as many
        assert each["largest_core"]["neuron_updates"]["core_mean"] * each["cores"] == pytest.approx(held)
    most = best["largest_core"]["neuron_updates"]["max"]
    assert best["step_seconds_at_least"] == {"max": 2 + most, "mean": 2 + most}
    assert all(other["largest_core"]["neuron_updates"]["max"] >= most for other in others)
    busy = small(tmp_path, barrier=0.0, neuron_update=0.0, synaptic_operation=3.0, message=0.0)
    best = fit(program, busy, seen).placements[0]
    assert best["step_seconds_at_least"]["max"] == 3 * best["largest_core"]["synaptic_operations"]["max"]


def test_the_command_writes_json_by_its_schema_and_a_picture(tmp_path: Path) -> None:
    import spikestrip as ss

    rng = np.random.default_rng(0)
    program = network(rng, hidden=6)
    ss.save(program, tmp_path / "model.nir")
    np.save(tmp_path / "x.npy", gaussian(rng, program, 2, 9).astype(np.float32))
    done = run(command, tmp_path / "model.nir", "--chip", "loihi2", "--input", tmp_path / "x.npy",
               "--json", tmp_path / "fit.json", "--plot", tmp_path / "fit.png")  # fmt: skip
    assert done.code == 0, done.stderr
    assert "fits on 1 core of a Loihi 2" in done.stdout
    found = json.loads((tmp_path / "fit.json").read_text())
    schema = json.loads((chips.CHIPS.parent / "fitting" / "fit.schema.json").read_text())
    check(found, schema, schema)
    assert found["measured"]["steps"] == 9
    assert (tmp_path / "fit.png").read_bytes()[:4] == b"\x89PNG"


def check(value: object, schema: dict, root: dict) -> None:
    """The keywords of JSON schema that ours uses."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool,
             "null": type(None)}  # fmt: skip
    types = schema.get("type", list(kinds))
    assert any(isinstance(value, kinds[kind]) for kind in ([types] if isinstance(types, str) else types)), (
        value,
        schema,
    )
    if isinstance(value, dict):
        assert set(schema.get("required", ())) <= set(value)
        for key, inner in value.items():
            rule = schema.get("properties", {}).get(key, schema.get("additionalProperties", {}))
            assert rule is not False, key
            check(inner, rule, root)
    if isinstance(value, list):
        for inner in value:
            check(inner, schema.get("items", {}), root)


def test_bad_input_ends_in_one_line_and_exit_code_2(tmp_path: Path) -> None:
    import spikestrip as ss

    rng = np.random.default_rng(0)
    program, other = network(rng, hidden=6), network(rng, hidden=6)
    ss.save(program, tmp_path / "model.nir")
    simulate(other, gaussian(rng, other, 1, 4)).save(tmp_path / "t.h5")
    (tmp_path / "bad.toml").write_text('name = "x"\nfamily = "speck"\n[limits.cores]\nvalue = 9\n')
    for arguments, said in (
        (("--chip", "loihi3"), "loihi2, speck2e, speck2f"),
        (("--chip", tmp_path / "bad.toml"), "source and a date"),
        (("--chip", "loihi2", "--trace", tmp_path / "t.h5"), "is a run of program"),
        (("--chip", "loihi2", "--trace", "t.h5", "--input", "x.npy"), "together"),
    ):
        done = run(command, tmp_path / "model.nir", *arguments)
        assert done.code == 2
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1
