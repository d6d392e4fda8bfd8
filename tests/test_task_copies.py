"""Data sets that only a user can bring: each loader on a tiny copy of the real format, and what it refuses."""

import os
import struct

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from spikestrip.errors import BadInput
from train import tasks
from train.tasks import copies, dvs_gesture, pathfinder, speech_commands


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SPIKESTRIP_DATA", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", ["wikitext103", "speech_commands", "pathfinder", "dvs_gesture"])
def test_a_copy_that_is_not_there_is_asked_for_in_one_line(tmp_path, name):
    with pytest.raises(BadInput, match=f"{name}: .* is not in {tmp_path}/here.* nor in .*cache.*--data-dir"):
        tasks.load(name, tmp_path / "here")


def test_wikitext103_reads_bytes_of_each_part(tmp_path):
    texts = {"train": " = Title = \n née <unk> \n" * 3, "valid": "valid text ", "test": "a test text"}
    (tmp_path / "wikitext-103").mkdir()
    for part, text in texts.items():
        (tmp_path / "wikitext-103" / f"wiki.{part}.tokens").write_text(text, encoding="utf-8")
    task = tasks.load("wikitext103", tmp_path, length=10)
    assert task.readout == "sequence"
    assert bytes(task.train.inputs[2, :, 0]) == texts["train"].encode()[20:30]
    assert bytes(task.train.labels[2]) == texts["train"].encode()[21:31]
    assert bytes(task.validation.inputs) == b"valid text"
    assert bytes(task.test.labels) == b" test text"
    (tmp_path / "wikitext-103" / "wiki.test.tokens").write_text("")
    with pytest.raises(BadInput, match=r"wiki\.test\.tokens: is empty"):
        tasks.load("wikitext103", tmp_path, length=10)


@pytest.fixture
def speech(tmp_path):
    """Three clips of each word, one in each part; clip 2 of "yes" is short."""
    folder = tmp_path / "SpeechCommands" / "speech_commands_v0.02"
    for place, word in enumerate(speech_commands.WORDS):
        (folder / word).mkdir(parents=True)
        for k in range(3):
            size = 8000 if (word, k) == ("yes", 2) else 16000
            wavfile.write(folder / word / f"{k}_nohash_0.wav", 16000, np.full(size, 100 * place + k, np.int16))
    (folder / "_background_noise_").mkdir()
    wavfile.write(folder / "_background_noise_" / "pink.wav", 16000, np.zeros(70000, np.int16))
    for name, k in {"validation_list.txt": 1, "testing_list.txt": 2}.items():
        (folder / name).write_text("".join(f"{word}/{k}_nohash_0.wav\n" for word in speech_commands.WORDS))
    return folder


def test_speech_commands_keeps_the_lists_of_the_data_set(tmp_path, speech):
    task = tasks.load("speech_commands", tmp_path)
    for k, split in enumerate((task.train, task.validation, task.test)):
        assert split.labels.tolist() == list(range(35))
        assert split.inputs.shape == (35, 16000, 1)
        assert split.inputs.dtype == np.float32
        assert (split.inputs[:33, :, 0] * 32768 == 100 * np.arange(33)[:, None] + k).all()
    assert not task.test.inputs[33, 8000:].any()  # "yes"
    assert (task.test.inputs[33, :8000] > 0).all()


@pytest.mark.parametrize(
    ("rate", "samples"),
    [(8000, np.zeros(8000, np.int16)), (16000, np.zeros(16001, np.int16)), (16000, np.zeros((9, 2), np.int16)),
     (16000, np.zeros(9, np.uint8))],
)  # fmt: skip
def test_a_clip_of_another_form_is_refused(tmp_path, rate, samples):
    wavfile.write(tmp_path / "a.wav", rate, samples)
    with pytest.raises(BadInput, match=r"a\.wav: .*not a second of mono 16-bit"):
        speech_commands.samples(tmp_path / "a.wav")


def test_speech_commands_of_another_version_or_with_a_missing_clip_is_refused(tmp_path, speech):
    (speech / "yes" / "2_nohash_0.wav").unlink()
    with pytest.raises(BadInput, match=r"yes/2_nohash_0\.wav: no such file"):
        tasks.load("speech_commands", tmp_path)
    (speech / "yes").rename(speech / "si")
    with pytest.raises(BadInput, match=r"version 0\.02"):
        tasks.load("speech_commands", tmp_path)


def test_pathfinder_reads_the_metadata_and_shares_out_80_10_10(tmp_path):
    folder = tmp_path / "pathfinder32" / pathfinder.LEVEL
    levels = {}
    for block in (0, 10):
        (folder / "metadata").mkdir(parents=True, exist_ok=True)
        (folder / "imgs" / str(block)).mkdir(parents=True)
        lines = []
        for k in range(10):
            level, label = 10 * k + block // 2, (k + block // 10) % 2
            Image.fromarray(np.full((32, 32), level, np.uint8)).save(folder / "imgs" / str(block) / f"sample_{k}.png")
            lines.append(f"imgs/{block} sample_{k}.png {k} {label} 1.8 6 2 14 0.5\n")
            levels[level] = label
        (folder / "metadata" / f"{block}.npy").write_text("".join(lines))
    (folder / "imgs" / "0" / "sample_3.png").write_bytes(b"")  # LRA's release has such a file
    del levels[30]
    task = tasks.load("pathfinder", tmp_path)
    parts = (task.train, task.validation, task.test)
    assert [len(split.labels) for split in parts] == [15, 2, 2]
    found = {
        round((float(row[500, 0]) + 1) * 127.5): label
        for split in parts
        for row, label in zip(split.inputs, split.labels.tolist(), strict=True)
    }
    assert found == levels
    (folder / "metadata" / "10.npy").write_text("imgs/10 sample_0.png 0 2\n")
    with pytest.raises(BadInput, match=r"10\.npy: .*label"):
        tasks.load("pathfinder", tmp_path)


def packet(events, overflow=0, kind=1):
    """An AEDAT 3.1 packet of (time, x, y, polarity, valid)."""
    body = b"".join(struct.pack("<II", x << 17 | y << 2 | p << 1 | valid, t) for t, x, y, p, valid in events)
    return struct.pack("<HHIIIIII", kind, 0, 8, 4, overflow, len(events), len(events), len(events)) + body


def trial(folder, name, packets, rows):
    header = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n"
    (folder / f"{name}.aedat").write_bytes(header + b"".join(packets))
    lines = ["class,startTime_usec,endTime_usec", *(",".join(map(str, row)) for row in rows)]
    (folder / f"{name}_labels.csv").write_text("\n".join(lines) + "\n")


def test_dvs_gesture_counts_events_in_frames_of_25_ms(tmp_path):
    folder = tmp_path / "DvsGesture"
    folder.mkdir()
    second = 1 << 31  # microseconds: the timestamps have gone round once
    trial(
        folder, "user01_led",
        [
            packet([(999, 5, 5, 1, 1), (1000, 0, 0, 0, 1), (25_999, 3, 3, 0, 1), (26_000, 4, 127, 1, 1)]),
            packet([(1200, 9, 9, 1, 1)], kind=2),
            packet([(1300, 9, 9, 1, 0), (1_500_999, 127, 0, 1, 1), (1_501_000, 127, 0, 1, 1)]),
            packet([(7, 64, 64, 0, 1), (60, 64, 64, 0, 1)], overflow=1),
        ],
        [(2, 1000, 3_000_000), (11, second, second + 50)],
    )  # fmt: skip
    trial(folder, "user24_led", [packet([(5, 1, 1, 1, 1)])], [(1, 0, 100)])
    for part, name in {"train": "user01_led", "test": "user24_led"}.items():
        (folder / f"trials_to_{part}.txt").write_text(f"{name}.aedat\n")
    task = tasks.load("dvs_gesture", tmp_path)
    assert task.train.inputs.shape == (2, 60, 2048)
    assert task.train.labels.tolist() == [1, 10]
    assert task.test.labels.tolist() == [0]
    grid = task.train.inputs.reshape(2, 60, 2, 32, 32)  # polarity, y, x
    found = {tuple(map(int, place)): int(grid[tuple(place)]) for place in np.argwhere(grid)}
    assert found == {
        (0, 0, 0, 0, 0): 2, (0, 1, 1, 31, 1): 1, (0, 59, 1, 0, 31): 1,
        (1, 0, 0, 16, 16): 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"#!AER-DAT2.0\r\n", "not AEDAT 3.1"),
        (b"#!AER-DAT3.1\r\n#!END-HEADER\r\n" + packet([(1, 1, 1, 1, 1)])[:-1], "truncated"),
        (b"#!AER-DAT3.1\r\n#!END-HEADER\r\n" + packet([])[:9], "truncated"),
        (b"#!AER-DAT3.1\r\n#!END-HEADER\r\n" + packet([(1, 128, 1, 1, 1)]), "outside"),
    ],
)
def test_a_damaged_recording_is_refused(tmp_path, content, words):
    (tmp_path / "a.aedat").write_bytes(content)
    with pytest.raises(BadInput, match=words):
        dvs_gesture.read_events(tmp_path / "a.aedat")


def test_a_copy_written_anew_has_another_signature(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"1")
    os.utime(path, ns=(1, 1))
    first = copies.signature([path])
    assert copies.signature([path]) == first
    os.utime(path, ns=(1, 2))
    assert copies.signature([path]) != first
