"""The state of a run in shards: together they are the whole, and a run goes on from them alone if they are sound."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import psutil
import pytest
import safetensors.torch
import torch
from commands import Done, run
from stopped import stopping_after
from test_training import equal, weights

from train import sharded
from train.checkpoint import load, save
from train.run import command

TESTS = Path(__file__).parent
OPTIONS = (
    "--task", "digits", "--epochs", "3", "--d-model", "8", "--d-state", "2", "--dropout", "0.2", "--batch", "200",
    "--train-samples", "600", "--target-rate", "0.05",
)  # fmt: skip


def split(folder: Path, world: int) -> dict[str, Any]:
    """Cut the whole state in ``folder`` into the shards of ``world`` ranks; what last.pt then holds."""
    whole = torch.load(folder / "last.pt", weights_only=True)
    epoch = len(whole["progress"]["epochs"])
    shards: dict[str, str] = {}
    for rank in range(world):
        shards |= sharded.write(folder, epoch, whole, rank, world)
    index = {"progress": whole["progress"], "shards": shards}
    torch.save(index, folder / "last.pt")
    return index


def joined(folder: Path) -> dict[str, Any]:
    """The whole state that the shards in ``folder`` hold, as one process would have written it."""
    index = torch.load(folder / "last.pt", weights_only=True)
    network: dict[str, torch.Tensor] = {}
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name in index["shards"]:
        for key, value in safetensors.torch.load_file(folder / name).items():
            kind, _, rest = key.partition(".")
            if kind == "network":
                network[rest] = value
            else:
                number, part = rest.split(".")
                moments.setdefault(int(number), {})[part] = value
    return {"network": network, "optimizer": {"state": moments}, "progress": index["progress"]}


def shards(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.glob("*.safetensors"))


def same(a: Path, b: Path) -> bool:
    return equal(weights(a / "ckpt.pt"), weights(b / "ckpt.pt"))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    assert run(command, *OPTIONS, "--run-dir", folder).code == 0
    return folder


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process that was stopped after its second epoch."""
    folder = tmp_path_factory.mktemp("runs") / "broken"
    with stopping_after(2):
        assert run(command, *OPTIONS, "--run-dir", folder).code == 130
    return folder


@pytest.fixture
def cut(broken: Path, tmp_path: Path) -> Path:
    """The same in the shards of three."""
    shutil.copytree(broken, tmp_path / "run")
    split(tmp_path / "run", 3)
    return tmp_path / "run"


def go_on(folder: Path) -> Done:
    return run(command, *OPTIONS, "--run-dir", folder)


def test_shards_are_the_whole_and_none_holds_all(broken: Path, cut: Path) -> None:
    whole, again = torch.load(broken / "last.pt", weights_only=True), joined(cut)
    assert again["network"].keys() == whole["network"].keys()
    for name, value in whole["network"].items():
        assert torch.equal(again["network"][name], value)
        assert again["network"][name].dtype == value.dtype
    moments = whole["optimizer"]["state"]
    assert again["optimizer"]["state"].keys() == moments.keys()
    for number, parts in moments.items():
        assert all(torch.equal(again["optimizer"]["state"][number][part], parts[part]) for part in parts)
    sizes = [(cut / name).stat().st_size for name in shards(cut)]
    assert len(sizes) == 3
    assert max(sizes) < 0.5 * sum(sizes)


def test_shares_are_even_the_same_everywhere_and_may_be_empty() -> None:
    sizes = {"a": 8, "b": 5, "c": 4, "d": 3, "e": 0}
    assert sharded.shares(sizes, 2) == [["a", "d"], ["b", "c", "e"]]
    assert sharded.shares(dict(reversed(sizes.items())), 2) == sharded.shares(sizes, 2)
    assert sharded.shares({"a": 1}, 3) == [["a"], [], []]


def test_tensors_that_share_memory_and_a_rank_without_any(tmp_path: Path) -> None:
    one = torch.arange(6.0).reshape(2, 3)
    state = {"network": {"a": one, "b": one.T}, "optimizer": {"state": {}}}
    written: dict[str, str] = {}
    for rank in range(3):
        written |= sharded.write(tmp_path, 1, state, rank, 3)
    assert list(written) == shards(tmp_path) == ["last.1.0.safetensors", "last.1.1.safetensors"]
    network, moments = sharded.read(tmp_path / "last.pt", written, 1)
    assert torch.equal(network["a"], one)
    assert torch.equal(network["b"], one.T)
    assert moments == {}


def test_one_process_goes_on_from_the_shards_of_several(cut: Path, unbroken: Path) -> None:
    assert len(shards(cut)) == 3
    assert go_on(cut).code == 0
    assert same(cut, unbroken)
    assert shards(cut) == []


def test_shards_of_an_epoch_that_was_never_finished_are_passed_over(cut: Path, unbroken: Path) -> None:
    """A kill between the shards of epoch 3 and their list leaves the state after epoch 2."""
    for rank in range(3):
        shutil.copy(cut / "last.2.0.safetensors", cut / f"last.3.{rank}.safetensors")
    (cut / "last.mine.1.safetensors").write_bytes(b"of the user")
    assert go_on(cut).code == 0
    assert same(cut, unbroken)
    assert shards(cut) == ["last.mine.1.safetensors"]


def stamp(folder: Path) -> None:
    """State the hashes of the shards as they are now."""
    index = torch.load(folder / "last.pt", weights_only=True)
    index["shards"] = {name: sha256((folder / name).read_bytes()).hexdigest() for name in shards(folder)}
    torch.save(index, folder / "last.pt")


def flip(folder: Path) -> None:
    data = bytearray((folder / "last.2.1.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "last.2.1.safetensors").write_bytes(data)


def change(folder: Path, do: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change the tensors of a shard, hash and all."""
    file = folder / "last.2.1.safetensors"
    tensors = safetensors.torch.load_file(file)
    do(tensors)
    safetensors.torch.save_file(tensors, file)
    stamp(folder)


def rename(folder: Path, old: str, new: str) -> None:
    """Have last.pt list a shard by another name, under which it lies too."""
    shutil.copy(folder / old, folder / new)
    index = torch.load(folder / "last.pt", weights_only=True)
    index["shards"][new] = index["shards"].pop(old)
    torch.save(index, folder / "last.pt")


def list_as(folder: Path, listed: object) -> None:
    index = torch.load(folder / "last.pt", weights_only=True)
    torch.save(index | {"shards": listed}, folder / "last.pt")


SECOND = "last.2.1.safetensors"
WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda run: (run / SECOND).unlink(), f"run/{SECOND}: no such file"),
    "damaged": (flip, f"run/{SECOND}: is damaged"),
    "cut": (lambda run: (run / SECOND).write_bytes(b""), f"run/{SECOND}: is damaged"),
    "elsewhere": (lambda run: rename(run, SECOND, f"../{SECOND}"), "run/last.pt: lists '../last.2.1.safetensors'"),
    "absolute": (lambda run: rename(run, SECOND, str(run.parent / SECOND)), "which is no shard of its epoch 2"),
    "foreign": (lambda run: rename(run, SECOND, "model.safetensors"), "run/last.pt: lists 'model.safetensors'"),
    "older": (lambda run: rename(run, SECOND, "last.1.1.safetensors"), "run/last.pt: lists 'last.1.1.safetensors'"),
    "no tensors": (lambda run: ((run / SECOND).write_bytes(b"x" * 99), stamp(run)), f"run/{SECOND}: is no shard"),
    "none": (lambda run: list_as(run, {}), "run/last.pt: network has other parts than"),
    "no list": (lambda run: list_as(run, [SECOND]), "run/last.pt: shards is"),
    "no hash": (lambda run: list_as(run, {SECOND: 3}), f"run/last.pt: shards.{SECOND} is 3, not str"),
    "no name": (lambda run: list_as(run, {3: "x"}), "run/last.pt: lists 3, which is no shard"),
    "lacks one": (lambda run: change(run, lambda held: held.pop(next(iter(held)))), "run/last.pt: "),
    "two of one": (
        lambda run: (shutil.copy(run / SECOND, run / "last.2.7.safetensors"), stamp(run)),
        "run/last.2.7.safetensors: holds",
    ),
    "a tensor of none": (
        lambda run: change(run, lambda held: held.update({"progress.drawn": torch.zeros(1)})),
        f"run/{SECOND}: holds 'progress.drawn', which is no tensor of a training",
    ),
    "a shape": (
        lambda run: change(run, lambda held: held.update({name: torch.zeros(7, 7, 7) for name in held})),
        "of shape",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_shards_that_are_not_sound_are_refused(cut: Path, kind: str) -> None:
    damage, said = WRONG[kind]
    damage(cut)
    before = {file: file.read_bytes() for file in cut.parent.rglob("*") if file.is_file()}
    done = go_on(cut)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert (done.code, len(lines)) == (2, 1), done.stderr
    assert said in lines[0]
    assert {file: file.read_bytes() for file in cut.parent.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize("name", ["last.2.1.safetensors", "last.3.0.safetensors", "last.pt", "experiment.toml"])
def test_a_checkpoint_does_not_take_the_place_of_what_a_run_resumes_from(cut: Path, name: str) -> None:
    before = {file: file.read_bytes() for file in cut.rglob("*") if file.is_file()}
    done = run(command, *OPTIONS, "--run-dir", cut, "--out", cut / name)
    assert done.code == 2
    assert "give another name" in done.stderr
    assert {file: file.read_bytes() for file in cut.rglob("*") if file.is_file()} == before


def test_a_shard_that_the_run_starts_from_stays(cut: Path, broken: Path) -> None:
    start = cut / "last.1.0.safetensors"
    save(start, load(broken / "ckpt.pt"))
    done = run(command, *OPTIONS, "--start", start, "--run-dir", cut)
    assert done.code == 2
    assert "is the input itself" in done.stderr
    assert start.is_file()


# torchrun


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """torchrun and what it started, none of which may clear up."""
    family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    for one in (process, *family):
        one.kill()
    process.wait()
    psutil.wait_procs(family, timeout=60)


def processes(world: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """``arguments`` of Python, by each of ``world`` processes that torchrun starts."""
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(world)]
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    return subprocess.run([*line, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=300)


TRAIN, STOPPED = TESTS.parent / "train" / "run.py", TESTS / "stopped.py"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes that nothing stopped."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert processes(2, TRAIN, *OPTIONS, "--run-dir", folder).returncode == 0
    return folder


@pytest.mark.slow
def test_two_processes_that_stop_go_on_to_the_same_weights(tmp_path: Path, whole: Path) -> None:
    run_dir = tmp_path / "run"
    assert shards(whole) == ["last.3.0.safetensors", "last.3.1.safetensors"]
    assert processes(2, STOPPED, 1, *OPTIONS, "--run-dir", run_dir).returncode != 0
    assert shards(run_dir) == ["last.1.0.safetensors", "last.1.1.safetensors"]
    shutil.copytree(run_dir, tmp_path / "joined")
    torch.save(joined(run_dir), tmp_path / "joined" / "last.pt")
    shutil.copytree(run_dir, tmp_path / "one")
    assert processes(2, TRAIN, *OPTIONS, "--run-dir", run_dir).returncode == 0
    assert same(run_dir, whole)
    assert shards(run_dir) == shards(whole)
    # by two from the state that one process writes, and by one from the shards of two
    assert processes(2, TRAIN, *OPTIONS, "--run-dir", tmp_path / "joined").returncode == 0
    assert same(tmp_path / "joined", whole)
    assert shards(tmp_path / "joined") == shards(whole)
    shutil.copytree(tmp_path / "one", tmp_path / "whole of one")
    torch.save(joined(tmp_path / "one"), tmp_path / "whole of one" / "last.pt")
    for folder in (tmp_path / "one", tmp_path / "whole of one"):
        assert go_on(folder).code == 0
        assert shards(folder) == []
    assert same(tmp_path / "one", tmp_path / "whole of one")


@pytest.mark.slow
def test_two_processes_that_are_killed_go_on_to_the_same_weights(tmp_path: Path, whole: Path) -> None:
    run_dir = tmp_path / "run"
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(TRAIN)]
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    for awaited in ("last.1.*.safetensors", "last.2.*.safetensors"):
        process = subprocess.Popen(
            [*line, *OPTIONS, "--run-dir", str(run_dir)], env=environment, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until = time.monotonic() + 100
        while not list(run_dir.glob(awaited)) and process.poll() is None and time.monotonic() < until:
            time.sleep(0.001)
        kill_all(process)
    assert processes(2, TRAIN, *OPTIONS, "--run-dir", run_dir).returncode == 0
    assert same(run_dir, whole)
    assert shards(run_dir) == shards(whole)
