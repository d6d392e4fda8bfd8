"""A training as its folder tells of it so far (``train.logs``), for the page of ``spikestrip watch``."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

from deploy.reporting.words import clock, duration
from spikestrip import schema
from spikestrip.files import read_toml
from train import logs
from train.logs import CURVE, EPOCHS, EXPERIMENT

FORM = {"epochs?": int, "minutes?": float}
"""What is read of the options, whose names and values are shown as they are."""
RECENT = 5  # epochs by which the next ones are estimated
PATIENCE = 3  # times the longest of them without a word, and a training is called stalled,
LEAST = 60  # seconds: not before that
MOST = 2000  # points of a curve that are drawn
SHARES = ("accuracy", "spiking_rate")


def look(folder: Path, now: float) -> dict[str, Any]:
    """What the page shows of the training in ``folder`` at ``now``, in seconds since 1970. Raises BadInput.

    "state" is a word and "said" a sentence; "facts" are pairs, "tables" have a title, a head and rows, all of texts;
    "plots" have a title, a unit, the name of their axis and lines of points.
    """
    options = read_toml(folder / EXPERIMENT) if (folder / EXPERIMENT).exists() else {}
    schema.check(folder / EXPERIMENT, options, FORM)
    epochs = logs.read(folder / EPOCHS, "epoch", "seconds") if (folder / EPOCHS).exists() else {}
    curve = logs.read(folder / CURVE, "step", "epoch") if (folder / CURVE).exists() else {}
    state, said, left = _state(folder, options, epochs, now)
    return {
        "title": "Training, epoch by epoch",
        "state": state,
        "said": said,
        "facts": _facts(options, epochs, left),
        "plots": _plots(epochs, curve),
        "tables": [{
            "title": "Options", "head": ["option", "value"],
            "rows": [[name, value if isinstance(value, str) else json.dumps(value, default=str)]
                     for name, value in options.items()],
        }],
    }  # fmt: skip


def _state(folder: Path, options: dict[str, Any], epochs: logs.Columns, now: float) -> tuple[str, str, float | None]:
    """The state in a word and in a sentence, and the seconds that are left, where they can be estimated."""
    done = len(epochs.get("epoch", ()))
    if not done:
        begun = next(folder / name for name in (EXPERIMENT, EPOCHS) if (folder / name).exists()).stat().st_mtime
        return "begun", f"No epoch has ended yet; the folder was made at {clock(begun)}.", None
    written = (folder / EPOCHS).stat().st_mtime
    wanted, minutes = options.get("epochs"), options.get("minutes")
    number, took = epochs["epoch"][-1], [seconds or 0 for seconds in epochs["seconds"]]
    if wanted is not None and number >= wanted:
        return "finished", f"All {wanted} epochs are trained; the last one ended at {clock(written)}.", None
    if minutes is not None and sum(took) >= 60 * minutes:
        return "finished", f"Its {minutes:g} minutes are over; the last epoch ended at {clock(written)}.", None
    age, recent = max(0.0, now - written), took[-RECENT:]
    each = f"an epoch takes {duration(median(recent))}"
    if age > max(LEAST, PATIENCE * max(recent)):
        return "stalled", f"No epoch has ended for {duration(age)}, since {clock(written)}, though {each}.", None
    said = f"The last epoch ended at {clock(written)}, {duration(age)} ago; {each}."
    lefts = [] if wanted is None else [median(recent) * (wanted - number)]
    lefts += [] if minutes is None else [60 * minutes - sum(took)]
    return "running", said, max(0.0, min(lefts) - age) if lefts else None


def _facts(options: dict[str, Any], epochs: logs.Columns, left: float | None) -> list[list[str]]:
    done = f"{epochs['epoch'][-1]:.0f}" if epochs.get("epoch") else "0"
    facts = [["epochs", f"{done} of {options['epochs']}" if "epochs" in options else done]]
    if left is not None:
        facts.append(["time left, estimated", f"about {duration(left)}"])
    if epochs.get("epoch"):
        facts.append(["time trained", duration(sum(seconds or 0 for seconds in epochs["seconds"]))])
        last = {name: values[-1] for name, values in epochs.items() if name not in ("epoch", "seconds")}
        facts += [[_called(name), _written(name, value)] for name, value in last.items()]
    return facts


def _called(name: str) -> str:
    plain = name in logs.TEXTS or name.startswith("validation_")
    return (name if plain else f"training_{name}").replace("_", " ")


def _written(name: str, value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or "not finite"
    return f"{100 * value:.2f}%" if name.endswith(SHARES) else f"{value:.4g}"


def _plots(epochs: logs.Columns, curve: logs.Columns) -> list[dict[str, Any]]:
    """One for each number of an epoch; what was validated stands beside it."""
    numbers = [name for name in epochs if name not in ("epoch", *logs.TEXTS)]
    plots = []
    for name in dict.fromkeys(name.removeprefix("validation_") for name in numbers):
        lines = []
        if curve.get(name):
            steps = curve["step"][curve["epoch"].count(curve["epoch"][0]) - 1]  # of an epoch
            lines.append(_line("within an epoch", [step / steps for step in curve["step"]], name, curve[name]))
        for said, column in (("training", name), ("validation", f"validation_{name}")):
            if column in epochs:
                lines.append(_line(said, epochs["epoch"], name, epochs[column]))
        unit = "%" if name in SHARES else {"loss": "nats", "seconds": "s"}.get(name, "")
        plots.append({"title": name.replace("_", " "), "unit": unit, "axis": "epoch", "lines": lines})
    return plots


def _line(said: str, x: list[Any], name: str, y: list[Any]) -> dict[str, Any]:
    """Points of a line, the last one among them; of a long one every second, third, ..."""
    every = -(-len(x) // MOST)
    kept = slice((len(x) - 1) % every if x else 0, None, every or 1)
    scale = 100 if name in SHARES else 1
    return {"name": said, "x": x[kept], "y": [None if value is None else scale * value for value in y[kept]]}
