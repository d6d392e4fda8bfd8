"""``report.html``: a run folder on one page, without anything from elsewhere."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from deploy.reporting.folder import RunFolder
from deploy.reporting.words import COLUMNS, cells
from deploy.run_folder import PARALLEL, verdict_file
from spikestrip.errors import BadInput
from spikestrip.files import atomic

SHOWN = ("synaptic_acs", "effective_macs", "state_macs")


def render(run_dir: str | os.PathLike[str], out: str | os.PathLike[str]) -> None:
    """Write the report of ``run_dir`` to ``out``, whole or not at all. BadInput as RunFolder."""
    folder = RunFolder(run_dir)
    try:
        import matplotlib  # noqa: F401 - the plots need it
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise BadInput("report", f"needs the extra 'report': pip install 'spikestrip[report]' ({error})") from error
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    page = environment.get_template("report.html").render(**_content(folder))
    with atomic(out) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _content(folder: RunFolder) -> dict[str, Any]:
    from markupsafe import Markup

    from deploy.reporting import plots

    name, reference = folder.reference
    compared = {run: recorded for run, recorded in folder.traces.items() if run in ("iterative", "parallel")}
    compared = compared or {name: reference}
    rates = {
        run: {layer: folder.fired[run][layer] / math.prod(train.shape) for layer, train in recorded.spikes.items()}
        for run, recorded in compared.items()
    }
    by_layer = {
        layer: {counter: events / len(reference.input) for counter, events in table.items()}
        for layer, table in folder.counted[name].items()
    }
    raster, sample = None, None
    if len(compared) == 2:
        sample = _sample(folder)
        a, b = (folder.traces[run].spikes for run in ("parallel", "iterative"))
        raster = Markup(plots.raster_image(a, b, sample, ("parallel", "iterative")))
    rows = folder.rows()
    return {
        "columns": COLUMNS,
        "rows": [(row, cells(row)) for row in rows],
        "passed": all(row.verdict in ("pass", "reference") for row in rows),
        "metrics": folder.metrics,
        "cpu_reference": folder.cpu_reference,
        "missing": folder.missing,
        "refused": folder.refused,
        "shape": reference.input.shape,
        "spiking_layers": len(reference.spikes),
        "program": str(reference.attrs.get("program_sha256", ""))[:12],
        "reference_name": name,
        "raster": raster,
        "sample": sample,
        "rates": Markup(plots.rates(rates)),
        "events": Markup(plots.events(by_layer, SHOWN)) if by_layer else None,
        "parallel": folder.verdicts.get("parallel") or None,
        "verdicts": {run: verdict for run, verdict in folder.verdicts.items() if verdict},
    }


def _sample(folder: RunFolder) -> int:
    """The sample of the first difference; with none, the first."""
    first = (folder.verdicts.get("parallel") or {}).get("first")
    if first:
        sample = int(first["sample"])
        if not 0 <= sample < len(folder.traces[PARALLEL].input):
            raise BadInput(folder.path / verdict_file(PARALLEL), f"first.sample is {sample}, which the trace lacks")
        return sample
    a, b = (folder.traces[run] for run in ("parallel", "iterative"))
    for samples in a.parts():
        wrong = [(train[samples] != b.spikes[name][samples]).any(axis=(1, 2)) for name, train in a.spikes.items()]
        differing = np.flatnonzero(np.any(wrong, axis=0))
        if differing.size:
            return samples.start + int(differing[0])
    return 0
