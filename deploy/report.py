"""Write the report of run folders: ``python deploy/report.py RUN_DIR... -o report.html``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import click

from deploy.reporting.folder import RunFolder
from deploy.reporting.terminal import summary_table
from deploy.run_folder import READ, REPORT, found
from spikestrip.command import main, terminal
from spikestrip.errors import BadInput
from spikestrip.files import writable, write_json, write_text

__all__ = ["command", "render", "summary_table", "write"]

Form = Literal["html", "md", "json"]


def render(run_dirs: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str], form: Form = "html") -> None:
    """Write the report of run folders to ``out``, whole or not at all.

    Raises BadInput for a folder that isn't there or holds no trace, and for a file in it that is damaged.
    """
    write([RunFolder(run_dir) for run_dir in run_dirs], out, form)


def write(folders: Sequence[RunFolder], out: str | os.PathLike[str], form: Form = "html") -> None:
    """``render`` of folders that were read."""
    from deploy.reporting import facts, markdown, page

    if form == "html":
        page.write(folders, out)
        return
    said = [facts.facts(folder) for folder in folders]
    if form == "json":
        write_json(out, {"format": facts.FORMAT, "version": facts.VERSION, "folders": said})
        return
    write_text(out, markdown.markdown(folders, said))


@click.command("report")
@click.argument("run_dirs", metavar="RUN_DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path),
    help="The file to write. Default: report.html, .md or .json in RUN_DIR, where there is one RUN_DIR.",
)  # fmt: skip
@click.option("--format", "form", type=click.Choice(get_args(Form)), default="html", show_default=True)
def command(run_dirs: tuple[Path, ...], output: Path | None, form: Form) -> None:
    """Write the report of RUN_DIR, a folder as the demo or a road leaves it, or of several on one page.

    html: one self-contained page; md: its tables as Markdown; json: all that it says, for machines.
    """
    if output is None and len(run_dirs) > 1:
        raise BadInput("--output", "is needed for the report of several run folders")
    out = writable(
        output or (run_dirs[0] / REPORT).with_suffix(f".{form}"),
        [file for run_dir in run_dirs for file in found(run_dir, READ)],
    )
    folders = [RunFolder(run_dir) for run_dir in run_dirs]
    write(folders, out, form)
    for folder in folders:
        terminal().print(summary_table(folder))
    click.echo(f"{out}")


if __name__ == "__main__":
    main(command)
