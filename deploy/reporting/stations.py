"""A road as its folder tells of it so far (``deploy.run_folder``), for the page of ``spikestrip watch``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploy import run_folder
from deploy.reporting.folder import ROAD_FORM, VERDICT_FORM
from deploy.reporting.words import NOTHING, clock, duration
from deploy.run_folder import BACKENDS, ITERATIVE, PARALLEL, ROAD, trace_file, verdict_file
from spikestrip import schema
from spikestrip.files import read_json

FIRST = (
    run_folder.METRICS, run_folder.CHECKPOINT, run_folder.INPUT, run_folder.LABELS, run_folder.NIR, run_folder.ONNX,
)  # fmt: skip
QUIET = 600  # seconds without a change in any file of the folder, after which the road is called stalled


def begun(folder: Path) -> bool:
    """Whether the folder is a road's."""
    return any((folder / name).is_file() for name in (run_folder.METRICS, ROAD, trace_file(ITERATIVE)))


def look(folder: Path, now: float) -> dict[str, Any]:
    """What the page shows of the road in ``folder`` at ``now``, as ``deploy.reporting.training.look`` does."""
    road = read_json(folder / ROAD)
    schema.check(folder / ROAD, road, ROAD_FORM)
    refused = {name: row["refused"] for name, row in (road.get("runs") or {}).items() if row.get("refused") is not None}
    seen = [file.name.removeprefix("trace.").removesuffix(".h5") for file in sorted(folder.glob(trace_file("*")))]
    # until road.json tells which backends were asked for, those that it takes by itself are awaited
    runs = [ITERATIVE, PARALLEL, *dict.fromkeys([*(() if road else BACKENDS), *seen, *refused])]
    rows = [[name, *_written(folder / name), NOTHING] for name in FIRST]
    passed = failed = 0
    for run in runs:
        verdict = read_json(folder / verdict_file(run))
        said = f"refused: {refused[run]}" if run in refused else NOTHING
        if verdict:
            schema.check(folder / verdict_file(run), verdict, VERDICT_FORM)
            said = f"{verdict['verdict']}, {verdict['differ']:,} differ"
            passed, failed = passed + (verdict["verdict"] == "pass"), failed + (verdict["verdict"] == "fail")
        rows.append([trace_file(run), *_written(folder / trace_file(run)), said])
    rows += [[name, *_written(folder / name), NOTHING] for name in (ROAD, run_folder.REPORT)]
    facts = {"runs recorded": sum((folder / trace_file(run)).is_file() for run in runs), "verdicts: pass": passed}
    facts |= {"verdicts: fail": failed} | ({"refused": len(refused)} if refused else {})
    # a trace grows in a temporary file beside the others
    last = max(file.stat().st_mtime for file in folder.iterdir() if file.is_file())
    age = max(0.0, now - last)
    state = "finished" if road else "stalled" if age > QUIET else "running"
    ended = "All stations are done" if road else f"{ROAD}, which ends it, isn't there"
    return {
        "title": "The road, station by station",
        "state": state,
        "said": f"{ended}; the last file was written at {clock(last)}, {duration(age)} ago.",
        "facts": [[name, str(number)] for name, number in facts.items()],
        "plots": [],
        "tables": [{"title": "Stations", "head": ["file", "written", "bytes", "verdict"], "rows": rows}],
    }


def _written(file: Path) -> list[str]:
    if not file.is_file():
        return [NOTHING, NOTHING]
    status = file.stat()
    return [clock(status.st_mtime), f"{status.st_size:,}"]
