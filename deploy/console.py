"""The console command: ``spikestrip NAME``, each subcommand loaded when it is called."""

from __future__ import annotations

from importlib import import_module
from typing import NoReturn

import click

from spikestrip import __version__, command

# name -> (module, what it does); the module's ``command`` is the same that the script of that name runs
COMMANDS = {
    "doctor": ("deploy.doctor", "Say what is installed, and which backends are right on this machine."),
    "demo": ("deploy.demo", "The whole road on real digits, ending in report.html."),
    "score": ("deploy.score", "Score a checkpoint's stripped network on its task's test split."),
    "road": ("deploy.road", "Every station after training: strip, convert, run on every backend, verify, report."),
    "train": ("train.run", "Train a network in parallel over time."),
    "train-sdn": ("train.sdn", "Train and grade a surrogate dynamic network."),
    "to-nir": ("convert.to_nir", "Write a checkpoint as NIR, or translate a NIR file."),
    "to-onnx": ("convert.to_onnx", "Write a checkpoint or a NIR file as ONNX."),
    "reference": ("simulators.reference", "Record what a checkpoint's network does."),
    "simulate": ("simulators.run", "Run a NIR file on a simulator."),
    "check": ("deploy.check", "Run any NIR graph under every platform's rule, and explain what differs."),
    "quantize": ("deploy.quantize", "Lower a network to the integers of a chip, and say what that costs."),
    "verify": ("deploy.verify", "Compare two traces spike by spike, and explain each difference."),
    "fit": ("deploy.fit", "Say whether a network fits on a chip, on which cores, or why not."),
    "orders": ("deploy.orders", "Say how far the order of events moves the answers of a Speck's integers."),
    "price": ("deploy.price", "What a run would cost by published prices, or why that is not known."),
    "certify": ("deploy.certify", "Certify which spikes of a run no conforming backend can change."),
    "shrink": ("deploy.shrink", "Cut a failing model and input down while the same failure stays."),
    "report": ("deploy.report", "Make a report of a run folder."),
    "watch": ("deploy.watch", "Show a training or a road as it goes on, in a browser."),
}


class LazyGroup(click.Group):
    """A group that imports a subcommand only when it is asked for: torch alone takes seconds."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        loaded: click.Command = import_module(COMMANDS[cmd_name][0]).command
        return loaded

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup)
@click.version_option(__version__)
def group() -> None:
    """Spikestrip strips spiking networks trained in parallel to iterative neurons, and proves what that did."""


def main() -> NoReturn:
    """Entry point of the ``spikestrip`` command."""
    command.main(group)
