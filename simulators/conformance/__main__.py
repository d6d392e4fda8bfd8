"""``python -m simulators.conformance [-o docs/conformance.md] [BACKEND ...]``: run the suite and write its table."""

from __future__ import annotations

from pathlib import Path

import click
from tqdm import tqdm

from simulators import backends
from simulators.conformance import Failed, cases, run_case
from simulators.conformance.table import table
from spikestrip.command import main
from spikestrip.files import atomic


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
        with atomic(output) as temporary:
            temporary.write_text(page)
    return int(any(isinstance(result, Failed) for answers in results.values() for _, result in answers))


if __name__ == "__main__":
    main(command)
