"""How long a command takes before it does anything: interpreter, imports, and the help of the command line.

python benchmarks/start.py --json start.json
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import measuring
from measuring import ROOT, Tables

CONSOLE = "from deploy.console import main; main()"
COMMANDS = {
    "python": ("-c", "pass"),
    "import numpy": ("-c", "import numpy"),
    "import spikestrip": ("-c", "import spikestrip"),
    "spikestrip --help": ("-c", CONSOLE, "--help"),
    "spikestrip simulate --help": ("-c", CONSOLE, "simulate", "--help"),
    "spikestrip train --help": ("-c", CONSOLE, "train", "--help"),
    "import torch": ("-c", "import torch"),
}


def measure(smoke: bool) -> Tables:
    chosen = dict(list(COMMANDS.items())[:4]) if smoke else COMMANDS
    timers = {
        name: measuring.timer(
            partial(subprocess.run, (sys.executable, *arguments), cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        )
        for name, arguments in chosen.items()
    }
    return {"start": measuring.compared(measuring.take_turns(timers, 1 if smoke else 7), "python", "command")}


main = measuring.command(measure)
if __name__ == "__main__":
    main()
