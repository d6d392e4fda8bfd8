"""``report.html``: run folders on one page, without anything from elsewhere."""

from __future__ import annotations

import base64
import gzip
import json
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from deploy.pricing.table import joules
from deploy.reporting.facts import look
from deploy.reporting.folder import Row, RunFolder
from deploy.reporting.words import CAUSES, COLUMNS, NOTHING, cells, share
from spikestrip.errors import BadInput
from spikestrip.files import write_text

HERE = Path(__file__).parent
SCRIPTS = ("carried.js", "plots.js", "spikes.js", "page.js")


def write(folders: Sequence[RunFolder], out: str | os.PathLike[str]) -> None:
    """Write the page of ``folders`` to ``out``, whole or not at all. Raises BadInput."""
    looked = [look(folder) for folder in folders]
    page = rendered(
        "page.html", SCRIPTS,
        {"folders": [{"facts": facts, "drawn": drawn} for facts, drawn in looked], "causes": CAUSES},
        folders=[
            facts | {"table": [(row, cells(row), _values(row)) for row in folder.rows()]}
            for folder, (facts, _) in zip(folders, looked, strict=True)
        ],
        columns=COLUMNS, causes=CAUSES, nothing=NOTHING, share=share, joules=joules,
    )  # fmt: skip
    write_text(out, page)


def rendered(template: str, scripts: Sequence[str], payload: dict[str, Any], **values: Any) -> str:
    """A page on which stands all that it needs: its style, Plotly, ``scripts``, and the ``payload`` that they draw.

    Raises BadInput where the libraries for it are missing.
    """
    try:
        import plotly  # noqa: F401 - the plots need it
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise BadInput("report", f"needs the extra 'report': pip install 'spikestrip[report]' ({error})") from error
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(template).render(
        css=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        scripts=Markup("\n".join((HERE / name).read_text(encoding="utf-8") for name in scripts)),
        plotly=Markup(_library()),
        payload=Markup(_packed(json.dumps(payload, allow_nan=False))),
        **values,
    )


def _values(row: Row) -> list[float | None]:
    """What each column of the table is sorted by; None where that is its text."""
    return [
        None, None, _or_least(row.right), row.spiking_rate, _or_least(row.agreement), _or_least(row.differ), None, None,
        _or_least(row.synaptic_acs), _or_least(row.macs), _or_least(row.joules and row.joules[1]),
        _or_least(row.seconds),
    ]  # fmt: skip


def _or_least(value: float | None) -> float:
    return -1 if value is None else value


@cache
def _library() -> str:
    from plotly.offline import get_plotlyjs

    return _packed(get_plotlyjs())


def _packed(text: str) -> str:
    """Text as base64 of its gzip, the same for the same text."""
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()
