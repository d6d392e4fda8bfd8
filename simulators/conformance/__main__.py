"""``python -m simulators.conformance [-o docs/conformance.md] [BACKEND ...]``: run the suite and write its table.

``python -m simulators.conformance nir -o FOLDER``: run the published importers of NIR instead.
"""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path

import click
from tqdm import tqdm

from simulators import backends
from simulators.conformance import Failed, cases, run_case
from simulators.conformance.table import table
from spikestrip.command import main
from spikestrip.files import write_json, write_text


@click.command("conformance")
@click.argument("names", nargs=-1)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The page to write; default: the terminal.")
def command(names: tuple[str, ...], output: Path | None) -> int:
    """Run every conformance case on the backends NAMES (default: all installed). Exit code 1 if any case fails."""
    suite = cases()
    loaded = {name: backends.load(name) for name in names or backends.names()}
    results = {
        name: [(case, run_case(backend, case)) for case in tqdm(suite, desc=name, unit="case")]
        for name, backend in loaded.items()
    }
    page = table(results)
    if output is None:
        click.echo(page)
    else:
        write_text(output, page)
    return int(any(isinstance(result, Failed) for answers in results.values() for _, result in answers))


@click.command("conformance nir")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The folder to write.")
def importers(output: Path) -> int:
    """Give graphs of every kind of NIR node to every importer that is installed. FOLDER gets the table as Markdown,
    HTML and JSON, a badge for each importer, and a reproducer for each silent error. Exit code 1 where there is one."""
    from simulators.conformance.importers import installed, page, running

    logging.disable()
    warnings.simplefilter("ignore")
    output.mkdir(parents=True, exist_ok=True)
    table = running.run(installed(), output / "reproducers")
    written = {"importers.md": page.markdown(table), "importers.html": page.page(table)}
    written |= {f"{badge.importer.split()[0]}.svg": badge.svg for badge in page.badges(table)}
    for name, text in written.items():
        write_text(output / name, text)
    write_json(output / "importers.json", page.plain(table))
    return int(any(verdict.status == "silently wrong" for row in table.values() for verdict in row.values()))


if __name__ == "__main__":
    if sys.argv[1:2] == ["nir"]:
        main(importers, sys.argv[2:])
    main(command)
