"""Write the report of a run folder: ``python deploy/report.py RUN_DIR -o report.html``."""

from __future__ import annotations

from pathlib import Path

import click

from deploy.reporting import render, summary_table
from deploy.run_folder import READ, REPORT, found
from spikestrip.command import main, terminal
from spikestrip.files import writable

__all__ = ["command", "render", "summary_table"]


@click.command("report")
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The page; default: RUN_DIR/report.html.")
def command(run_dir: Path, output: Path | None) -> None:
    """Write the report of RUN_DIR, a folder as the demo leaves it, as one self-contained HTML page."""
    page = writable(output or run_dir / REPORT, found(run_dir, READ))
    table = summary_table(run_dir)
    render(run_dir, page)
    terminal().print(table)
    click.echo(f"{page}")


if __name__ == "__main__":
    main(command)
