"""Speech Commands 0.02, raw, from a user's copy: 35 words, one second at 16 kHz as 16,000 steps.

(Warden, 2018, "Speech Commands: a dataset for limited-vocabulary speech recognition".)
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from scipy.io import wavfile

from spikestrip.errors import BadInput
from spikestrip.files import parsing
from train.tasks import Split, Task, cache, copies

LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
LAYOUTS = ["SpeechCommands/speech_commands_v0.02", "speech_commands_v0.02"]  # the first is torchaudio's
RATE = STEPS = 16_000
WORDS = [
    "backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward", "four", "go", "happy",
    "house", "learn", "left", "marvin", "nine", "no", "off", "on", "one", "right", "seven", "sheila", "six", "stop",
    "three", "tree", "two", "up", "visual", "wow", "yes", "zero",
]  # fmt: skip


def load(data_dir: Path | None = None) -> Task:
    """Samples in [-1, 1), shorter clips padded with zeros at the end; the official three parts.

    Test and validation are what the data set's own lists name, train is the rest. ``data_dir``: the folder of
    testing_list.txt, or one of LAYOUTS in it. Raises BadInput when a file isn't mono 16-bit at 16 kHz, of a second.
    """
    folder = copies.find("speech_commands", data_dir, LAYOUTS, LISTS["test"])
    clips = sorted(folder.glob("[!_.]*/*.wav"))
    words = sorted({clip.parent.name for clip in clips})
    if words != WORDS:
        raise BadInput(folder, f"holds {len(words)} words that are not the {len(WORDS)} of version 0.02")
    parts = {part: _listed(folder / name, folder) for part, name in LISTS.items()}
    named = {clip for part in parts.values() for clip in part}
    parts["train"] = [clip for clip in clips if clip not in named]
    train, validation, test = (_split(part, parts[part]) for part in ("train", "validation", "test"))
    return Task("speech_commands", train, test, classes=len(WORDS), channels=1, validation=validation)


def _listed(path: Path, folder: Path) -> list[Path]:
    clips = [copies.listed(path, folder, line.strip()) for line in copies.lines(path)]
    for clip in clips:
        if clip.parent.parent != folder or clip.parent.name not in WORDS:
            raise BadInput(path, f"names {clip}, which is no clip of a word")
    if not clips:
        raise BadInput(path, "names no clip")
    return clips


def _split(part: str, paths: list[Path]) -> Split:
    def fill(inputs: np.ndarray, labels: np.ndarray) -> None:
        for row, path in enumerate(paths):
            clip = samples(path)
            inputs[row, : len(clip), 0] = clip
            labels[row] = WORDS.index(path.parent.name)

    name = f"speech_commands-{copies.signature(paths)}-{part}"
    return cache.stored(name, (len(paths), STEPS, 1), np.float32, fill)


def samples(path: Path) -> np.ndarray:
    """The (at most 16,000,) float32 samples of a WAV file, as fractions of full scale."""
    with parsing(path, "is no WAV file that can be read"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of chunks that it doesn't know
        rate, clip = wavfile.read(path)
    if rate != RATE or clip.dtype != np.int16 or clip.ndim != 1 or not 0 < len(clip) <= STEPS:
        raise BadInput(path, f"is {clip.dtype} {clip.shape} at {rate} Hz, not a second of mono 16-bit at {RATE} Hz")
    return clip.astype(np.float32) / 32768
