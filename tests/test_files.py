"""Files are written whole or not at all, and never over what is read or over what is no file."""

import os
import stat
from pathlib import Path

import numpy as np
import pytest
from commands import run
from test_strip import trained

from convert.formats.nir.writing import write
from convert.load import load
from convert.strip import strip
from convert.to_nir import command as to_nir
from convert.to_onnx import command as to_onnx
from deploy.check import command as check
from deploy.fit import command as fit
from deploy.quantize import command as quantize
from deploy.report import command as report
from deploy.road import command as road
from deploy.score import command as score
from deploy.verify import command as verify
from simulators.reference import command as reference
from simulators.run import command as simulate
from spikestrip.errors import BadInput
from spikestrip.files import atomic, read_json, read_toml, writable
from train.checkpoint import Checkpoint, save
from train.neurons import sdn
from train.run import command as train
from train.sdn import command as train_sdn


@pytest.fixture
def folder(tmp_path):
    """A checkpoint, its model, an input and both traces."""
    network = trained(0)
    save(tmp_path / "ckpt.pt", Checkpoint(network))
    write(strip(network), tmp_path / "model.nir")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(1, 5, 2)).astype(np.float32))
    name = {"model": tmp_path / "model.nir", "x": tmp_path / "x.npy", "ckpt": tmp_path / "ckpt.pt"}
    done = run(reference, name["ckpt"], "--input", name["x"], "--form", "iterative", "-o", tmp_path / "reference.h5")
    assert done.code == 0, done.stderr
    done = run(simulate, name["model"], "--backend", "numpy", "--input", name["x"], "-o", tmp_path / "trace.h5")
    assert done.code == 0, done.stderr
    (tmp_path / "official.json").write_text("{}")
    (tmp_path / "experiment.toml").write_text('task = "mnist5k"\n')
    sdn.shipped("hard", 0.125).save(tmp_path / "sdn.pt")
    return tmp_path


COMMANDS = {
    "simulate": (simulate, "{f}/model.nir --backend numpy --input {f}/x.npy -o", "model.nir x.npy"),
    "reference": (reference, "{f}/ckpt.pt --input {f}/x.npy -o", "ckpt.pt x.npy official.json"),
    "verify": (verify, "{f}/reference.h5 {f}/trace.h5 --program {f}/model.nir --json",
               "reference.h5 trace.h5 model.nir"),
    "check": (check, "{f}/model.nir --input {f}/x.npy --json", "model.nir x.npy"),
    "to-nir": (to_nir, "{f}/model.nir -o", "model.nir"),
    "to-nir, checkpoint": (to_nir, "{f}/ckpt.pt -o", "ckpt.pt official.json"),
    "to-onnx": (to_onnx, "{f}/ckpt.pt --int8 {f}/x.npy -o", "ckpt.pt x.npy official.json"),
    "score": (score, "{f}/ckpt.pt --json", "ckpt.pt official.json"),
    "report": (report, "{f} -o", "reference.h5 trace.h5"),
    "train": (train, "{f}/experiment.toml --sdn {f}/sdn.pt --out", "experiment.toml sdn.pt"),
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_writes_over_what_it_reads(folder, name):
    command, arguments, reads = COMMANDS[name]
    given = [argument.format(f=folder) for argument in arguments.split()]
    for read in reads.split():
        (folder / "link").unlink(missing_ok=True)
        (folder / "hard").unlink(missing_ok=True)
        (folder / "link").symlink_to(folder / read)
        (folder / "hard").hardlink_to(folder / read)
        before = {file.name: file.read_bytes() for file in folder.iterdir()}
        for target in (read, "link", "hard"):
            done = run(command, *given, folder / target)
            assert done.code == 2, (target, done)
            assert f"{folder / target}: is the input itself ({folder / read})" in done.stderr
        assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
        assert (folder / "link").is_symlink()


def test_the_second_file_of_a_command_is_held_to_it_too(folder):
    (folder / "out.fn.onnx").hardlink_to(folder / "ckpt.pt")
    done = run(to_onnx, folder / "ckpt.pt", "--functions", "-o", folder / "out.onnx")
    assert (done.code, "out.fn.onnx: is the input itself" in done.stderr) == (2, True)
    assert not (folder / "out.onnx").exists()


def test_a_run_folder_that_holds_the_input_is_refused(folder):
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    done = run(road, folder / "ckpt.pt", "--input", folder / "x.npy", "--out", folder)
    assert done.code == 2
    assert "is the input itself" in done.stderr
    done = run(train, folder / "experiment.toml", "--sdn", folder / "ckpt.pt", "--run-dir", folder)
    assert (done.code, "ckpt.pt: is the input itself" in done.stderr) == (2, True)
    done = run(train, "--run-dir", folder, "--out", folder / "experiment.toml")
    assert (done.code, "experiment.toml: is the input itself" in done.stderr) == (2, True)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_a_device_a_pipe_and_a_folder_stay_what_they_are(folder):
    pipe, link = folder / "pipe", folder / "null"
    os.mkfifo(pipe)
    link.symlink_to("/dev/null")
    for target in (pipe, link, Path("/dev/null")):
        with pytest.raises(BadInput, match="device, a pipe"), atomic(target):
            pytest.fail("yielded")
        for command, arguments, _ in COMMANDS.values():
            done = run(command, *(argument.format(f=folder) for argument in arguments.split()), target)
            assert (done.code, "a device, a pipe" in done.stderr) == (2, True), done
    done = run(train_sdn, "--out", folder / "sdn.pt", "--steps", 2)
    assert done.code == 0
    (folder / "sdn.json").unlink()
    os.mkfifo(folder / "sdn.json")
    assert run(train_sdn, "--out", folder / "sdn.pt", "--steps", 2).code == 2
    os.mkfifo(folder / "road.json")
    assert run(road, folder / "ckpt.pt", "--input", folder / "x.npy", "--out", folder).code == 2
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    with pytest.raises(BadInput, match="is a folder"):
        writable(folder)


def test_other_files_and_inputs_that_are_not_there_are_no_hindrance(tmp_path):
    (tmp_path / "old").write_text("old")
    (tmp_path / "input").write_text("old")
    assert writable(tmp_path / "old", [None, tmp_path / "absent", tmp_path / "input"]) == tmp_path / "old"
    with atomic(tmp_path / "old") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "old").read_text() == "new"


def test_a_link_is_written_through(tmp_path):
    """It stays, and what it points at is the file: as a shell's > does it. One that leads nowhere makes the file."""
    (tmp_path / "there").mkdir()
    (tmp_path / "there/old.npy").write_text("old")
    for name, target in (("link.npy", "there/old.npy"), ("link2.npy", "there/new.npy"), ("twice.npy", "link.npy")):
        (tmp_path / name).symlink_to(target)
        with atomic(tmp_path / name) as temporary:
            assert temporary.suffix == ".npy"
            temporary.write_text(name)
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / name).read_text() == name
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["new.npy", "old.npy"]
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nowhere").symlink_to("absent/file")
    for name, said in (("loop", "leads back to itself"), ("nowhere", "no such folder")):
        with pytest.raises(BadInput, match=said), atomic(tmp_path / name):
            pytest.fail("yielded")
        assert (tmp_path / name).is_symlink()


def test_a_name_as_long_as_a_file_system_takes(tmp_path):
    target = tmp_path / ("é" * 125 + ".npy")  # 254 bytes
    with atomic(target) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"
    with pytest.raises((BadInput, OSError)), atomic(tmp_path / ("x" * 300)):
        pytest.fail("yielded")


@pytest.mark.parametrize("name", ["", ".", "/"])
def test_what_is_no_name_of_a_file(folder, monkeypatch, name):
    """Where others are to stand beside it, too: official.json, model.fn.onnx, verdict.differences.h5."""
    monkeypatch.chdir(folder)
    before = set(folder.iterdir())
    for command, arguments, reads in COMMANDS.values():
        given = arguments.format(f=folder).split()
        if reads != "reference.h5 trace.h5":  # a report may stand in the folder's own name
            assert run(command, *given, name).code == 2, (given, name)
        changed = [name if argument == str(folder / reads.split()[0]) else argument for argument in given]
        assert run(command, *changed, folder / "new").code == 2, changed
    assert run(to_onnx, folder / "model.nir", "--functions", "-o", name).code == 2
    assert set(folder.iterdir()) == before


def test_two_outputs_in_one_file(folder):
    twice = folder / "new.json"
    done = run(fit, folder / "model.nir", "--chip", "loihi2", "--json", twice, "--plot", folder / "there/../new.json")
    assert (done.code, "is to be written twice" in done.stderr) == (2, True)
    done = run(quantize, folder / "ckpt.pt", "--chip", "loihi2", "-o", twice, "--scaled", twice)
    assert (done.code, "is to be written twice" in done.stderr) == (2, True)
    assert not twice.exists()


@pytest.mark.parametrize("name", ["big.json", "big.toml", "big.onnx"])
def test_a_text_larger_than_any_of_ours_is_not_read(tmp_path, name):
    """Nor is an ONNX file of more bytes than a protocol buffer can have: such files are sparse, and cost nothing."""
    file = tmp_path / name
    file.touch()
    os.truncate(file, 40 << 30)
    read = {".json": read_json, ".toml": read_toml, ".onnx": load}[file.suffix]
    with pytest.raises(BadInput, match="has more than"):
        read(file)


def test_below_a_file_nothing_is_written_and_it_is_said_first(folder):
    before = set(folder.iterdir())
    done = run(quantize, folder / "ckpt.pt", "--chip", "loihi2", "--scaled", folder / "x.npy/new.pt")
    assert (done.code, set(folder.iterdir())) == (2, before)
    assert "new.pt: can't be written here: no such folder" in done.stderr
