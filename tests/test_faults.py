"""Drills: what a machine does to a command. One line and exit code 2, or death; never half a file, never one lost."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from test_strip import trained

from spikestrip import files
from spikestrip.errors import BadInput
from spikestrip.files import Enduring, alone, atomic, save_array
from train.checkpoint import Checkpoint, load, save

ROOT = Path(__file__).resolve().parents[1]

TRAIN = ("train", "--task", "digits", "--d-model", "8", "--d-state", "4", "--layers", "1", "--train-samples", "100")
COMMANDS = {
    "to-nir": ("to-nir", "ckpt.pt", "-o", "out/model.nir"),
    "to-onnx": ("to-onnx", "ckpt.pt", "-o", "out/model.onnx"),
    "reference": ("reference", "ckpt.pt", "--input", "x.npy", "-o", "out/reference.h5"),
    "simulate": ("simulate", "model.nir", "--backend", "numpy", "--input", "x.npy", "-o", "out/trace.h5"),
    "train": (*TRAIN, "--epochs", "1", "--run-dir", "out/run"),
    "train-out": (*TRAIN, "--epochs", "0", "--out", "out/ckpt.safetensors"),
    "report": ("report", "run", "-o", "out/report.html"),
    "verify": ("verify", "reference.h5", "trace.h5", "--program", "model.nir", "--json", "out/verdict.json"),
    "quantize": ("quantize", "model.nir", "--chip", "loihi2", "-o", "out/model.nir"),
    "certify": ("certify", "model.nir", "--input", "x.npy", "-o", "out/certificate.json"),
}
"""What writes, in a folder of ``corpus``, below out/."""


def go(folder: Path, *arguments: str, before: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
    """A command in an interpreter of its own. before: Python that runs when its modules are loaded."""
    return subprocess.run(
        line(arguments, before), cwd=folder, capture_output=True, text=True, check=False, env=environment(), **options
    )


def line(arguments: Sequence[str], before: str) -> list[str]:
    script = f"""
import importlib, sys
from deploy.console import COMMANDS, main
importlib.import_module(COMMANDS[sys.argv[1]][0])
{before}
main()
"""
    return [sys.executable, "-c", script, *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults")
    (folder / "run").mkdir()
    (folder / "out").mkdir()
    save(folder / "ckpt.pt", Checkpoint(trained(0), {"name": "digits"}, {"accuracy": 0.5}))
    np.save(folder / "x.npy", np.random.default_rng(0).normal(size=(40, 60, 2)).astype(np.float32))
    for arguments in ("to-nir ckpt.pt -o model.nir", "reference ckpt.pt --input x.npy -o reference.h5",
                      "simulate model.nir --backend numpy --input x.npy -o trace.h5"):  # fmt: skip
        done = go(folder, *arguments.split())
        assert done.returncode == 0, done.stderr
    shutil.copy(folder / "trace.h5", folder / "run/trace.numpy.h5")
    shutil.copy(folder / "reference.h5", folder / "run/reference.parallel.h5")
    return folder


@pytest.fixture
def folder(corpus: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(corpus, tmp_path / "here"))


def said(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of an error; a progress bar may stand before it, and what training says of a busy machine."""
    lines = [one for one in done.stderr.replace("\r", "\n").splitlines() if one.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return lines[0]


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def rooms(folder: Path, size: int) -> Iterator[None]:
    """While it runs, out/ is a disk of so many bytes."""
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder / "out"], check=False)
    if done.returncode:
        pytest.skip("may not mount")
    try:
        yield
    finally:
        subprocess.run(["umount", folder / "out"], check=True)


@pytest.fixture
def small_disk(folder: Path) -> Iterator[None]:
    yield from rooms(folder, 4096)


WHOLE = {"out/run/experiment.toml"}  # of a run that has begun, and goes on


@pytest.mark.slow
@pytest.mark.usefixtures("small_disk")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk(name: str, folder: Path) -> None:
    before = set(left(folder))
    done = go(folder, *COMMANDS[name])
    assert done.returncode == 2
    assert "No space left on device" in said(done)
    assert Path(COMMANDS[name][-1]).name.split(".")[0] in said(done)
    assert set(left(folder)) - before <= WHOLE


GROWTH = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))"


@pytest.mark.parametrize("name", ["to-nir", "simulate"])
def test_a_file_that_may_not_grow(name: str, folder: Path) -> None:
    """As a full disk, in what a test may always do; HDF5 used to end such a process by SIGSEGV."""
    before = left(folder)
    done = go(
        folder, *COMMANDS[name], before="import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))"
    )
    assert (done.returncode, left(folder)) == (2, before)
    assert "can't be written (File too large); nothing was" in said(done)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("to-nir", "simulate")])
def test_others_that_may_not_grow(name: str, folder: Path) -> None:
    before = set(left(folder))
    done = go(folder, *COMMANDS[name], before=GROWTH.format(999))
    assert done.returncode == 2
    assert "File too large" in said(done)
    assert set(left(folder)) - before <= WHOLE


@pytest.mark.slow
@pytest.mark.usefixtures("small_disk")
def test_a_run_goes_on_when_there_is_room(folder: Path) -> None:
    assert go(folder, *COMMANDS["train"]).returncode == 2
    subprocess.run(["mount", "-o", "remount,size=64M", folder / "out"], check=True)
    done = go(folder, *COMMANDS["train"])
    assert done.returncode == 0, done.stderr
    assert not [path for path in left(folder) if Path(path).name.startswith(".")]


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_that_may_not_be_written(name: str, folder: Path) -> None:
    """As a user without rights; root gives its own away."""
    (folder / "out").chmod(0o555)
    before = left(folder)
    done = as_nobody(folder, *COMMANDS[name])
    assert (done.returncode, left(folder)) == (2, before)
    assert "out" in said(done)
    assert "ermission" in said(done)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in COMMANDS if not name.startswith("train")])
def test_files_that_may_not_be_read(name: str, folder: Path) -> None:
    for file in folder.rglob("*.*"):
        file.chmod(0)
    before = left(folder)
    done = as_nobody(folder, *COMMANDS[name])
    assert (done.returncode, left(folder)) == (2, before)
    assert "not readable" in said(done) or "ermission" in said(done)


def as_nobody(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Without the capabilities of root, if this is root: what permissions say holds then."""
    prefix = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    if prefix and shutil.which("setpriv") is None:
        pytest.skip("needs setpriv")
    command = [*prefix, *line(arguments, "")]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment())


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_no_home(name: str, folder: Path) -> None:
    before = "import os; os.environ.update(HOME='/nonexistent'); os.environ.pop('XDG_CACHE_HOME', None)"
    done = go(folder, *COMMANDS[name], before=before)
    assert done.returncode == 0, done.stderr
    assert left(folder / "out")


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("most", [4, 6])
def test_few_file_descriptors(name: str, most: int, folder: Path) -> None:
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({most}, {most}))"
    done = go(folder, *COMMANDS[name], before=limit)
    assert done.returncode in (0, 2)
    assert done.returncode == 0 or "Too many open files" in said(done)
    assert not [path for path in left(folder) if Path(path).name.startswith(".")]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reference", "simulate", "certify"])
def test_out_of_memory(name: str, folder: Path) -> None:
    """What the process has when all is loaded, and 32 MiB; the input is larger."""
    np.save(folder / "x.npy", np.ones((2, 3_000_000, 2), np.float32))
    before = left(folder)
    limit = """
import resource, torch, simulators.backends.numpy, convert.strip, simulators.reference, deploy.certification.document
has = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + (32 << 20)
resource.setrlimit(resource.RLIMIT_AS, (has, has))
"""
    done = go(folder, *COMMANDS[name], before=limit)
    assert (done.returncode, left(folder)) == (2, before)
    assert "memory" in said(done).lower()


@pytest.mark.slow
def test_nobody_reads_the_verdict(folder: Path) -> None:
    """verify | head -0"""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(line(COMMANDS["verify"][:-2], ""), cwd=folder, stdout=write, stderr=subprocess.PIPE,
                          check=False, env=environment())  # fmt: skip
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


PAUSED = """
import os, time, spikestrip.files as files
fsync = os.fsync
def slow(descriptor):
    fsync(descriptor)
    print("writing", flush=True)
    time.sleep(60)
os.fsync = slow
"""
"""All is written, and nothing is in its place."""


def paused(folder: Path, name: str, **options: Any) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(line(COMMANDS[name], PAUSED), cwd=folder, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, env=environment(), **options)  # fmt: skip
    assert process.stdout is not None
    while (told := process.stdout.readline()) != b"writing\n":
        assert told, process.communicate()
    return process


OTHERS = [name for name in COMMANDS if name not in ("to-nir", "train")]


@pytest.mark.parametrize("name", ["to-nir", *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_terminated(name: str, folder: Path) -> None:
    before = left(folder)
    with paused(folder, name) as process:
        process.terminate()
        _, errors = process.communicate()
    assert (process.returncode, left(folder)) == (143, before)
    assert errors.endswith(b"error: ended by SIGTERM\n")
    assert b"Traceback" not in errors


@pytest.mark.slow
@pytest.mark.parametrize("name", ["to-nir", "simulate", "train-out"])
def test_killed_and_run_again(name: str, folder: Path) -> None:
    before = set(left(folder))
    with paused(folder, name) as process:
        process.kill()
    (half,) = set(left(folder)) - before
    assert Path(half).name.startswith(".")
    assert go(folder, *COMMANDS[name]).returncode == 0
    assert set(left(folder)) - before == {COMMANDS[name][-1]}


@pytest.mark.slow
def test_a_training_killed_goes_on_to_the_same_weights(folder: Path) -> None:
    command = (*TRAIN, "--epochs", "3", "--run-dir", "out/run")
    assert go(folder, *(*TRAIN, "--epochs", "3", "--run-dir", "out/whole")).returncode == 0
    for number in (signal.SIGKILL, signal.SIGTERM):
        with subprocess.Popen(line(command, ""), cwd=folder, env=environment(), stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as process:  # fmt: skip
            until = time.monotonic() + 100
            while not (folder / "out/run/last.pt").exists() and process.poll() is None and time.monotonic() < until:
                time.sleep(0.01)
            process.send_signal(number)
    assert go(folder, *command).returncode == 0
    weights = [load(folder / f"out/{name}/ckpt.pt").network.state_dict() for name in ("run", "whole")]
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])
    assert not [path for path in left(folder) if Path(path).name.startswith(".")]


@pytest.mark.slow
def test_two_runs_into_one_folder(folder: Path) -> None:
    with paused(folder, "train") as first:  # in its experiment.toml
        first.kill()
    command = (*TRAIN, "--epochs", "1", "--run-dir", "out/run")
    assert go(folder, *command).returncode == 0
    held = os.open(folder / "out/run", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    done = go(folder, *command)
    os.close(held)
    assert done.returncode == 2
    assert said(done) == "error: out/run: another run is writing into this folder; wait for it, or name another"


def test_a_folder_is_held_by_one(tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(BadInput, match="another run"), alone(tmp_path):
        pass
    with alone(tmp_path):
        pass


def test_what_a_dead_process_left_is_removed_and_a_living_one_s_is_kept(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = [f".x.{files.HERE}-{dead.pid}-abc.npy", f".x.{files.HERE}-{os.getpid()}-abc.npy", f".x.{files.HERE}-0-.nir",
             ".x.00000000-1-abc.npy", ".x.mine.npy"]  # fmt: skip
    for name in names:
        (tmp_path / name).touch()
    save_array(tmp_path / "x.npy", np.ones(3))
    assert {path.name for path in tmp_path.iterdir()} == {"x.npy", *names[1:]}


def test_a_failed_write_fails_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HDF5 sees nothing of it, and closes its file."""
    script = """
import resource, sys, h5py, numpy as np
from spikestrip.files import Enduring, atomic
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
with atomic("x.h5") as temporary, Enduring(temporary) as out, h5py.File(out, "w") as file:
    file["a"] = np.arange(100_000)
    file["b"] = np.arange(100_000)
    print("wrote")
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment(), capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "wrote\n")
    assert done.stderr.endswith("BadInput: x.h5: can't be written (File too large); nothing was\n")
    assert list(tmp_path.iterdir()) == []


def test_an_enduring_file_holds_what_any_other_does(tmp_path: Path) -> None:
    with atomic(tmp_path / "x.h5") as temporary, Enduring(temporary) as out, h5py.File(out, "w") as file:
        file.create_dataset("a", data=np.arange(1000), compression="gzip")
    with h5py.File(tmp_path / "x.h5", "r") as file:
        np.testing.assert_array_equal(file["a"], np.arange(1000))
