"""Every graph given to every importer."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from simulators.conformance.importers import reproducer
from simulators.conformance.importers.graphs import graphs, save
from simulators.conformance.importers.judging import Verdict, judge
from simulators.conformance.importers.stock import Run

Table = dict[str, dict[str, Verdict]]
"""Graph -> importer and version -> its verdict."""


def run(found: Mapping[str, tuple[str, Run]], errors: Path) -> Table:
    """The table of all graphs and the importers ``found``; each silent error leaves a reproducer in ``errors``."""
    table: Table = {}
    with tempfile.TemporaryDirectory() as folder:
        for title, graph in tqdm(graphs().items(), unit="graph"):
            path, x = save(graph, Path(folder) / "graph.nir")
            table[title] = {}
            for name, (number, importer) in found.items():
                said = f"{name} {number}"
                verdict = table[title][said] = judge(name, importer, path, x)
                if verdict.status == "silently wrong":
                    left = errors / re.sub(r"\W+", "_", f"{name} {title}")
                    reproducer.write(left, title, said, importer, verdict, path, x)
    return table
