"""``spikestrip.train``, ``spikestrip.convert``, ...: the upper floors, packages of their own, by longer names; and
``spikestrip.nn``, a room of one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

NAMES = {"train": "train", "convert": "convert", "simulators": "simulators", "deploy": "deploy", "nn": "train.nn"}
HERE = Path(__file__).resolve().parents[1]


class Aliases(MetaPathFinder, Loader):
    """Finds ``spikestrip.train.loop`` as the very module ``train.loop``, under both names."""

    def __init__(self) -> None:
        self.specs: dict[str, ModuleSpec | None] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        parts = name.split(".")
        return ModuleSpec(name, self) if parts[0] == "spikestrip" and parts[1:2] and parts[1] in NAMES else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Raises ImportError naming the file where a module of the user's own hides a floor."""
        _, name, *rooms = spec.name.split(".")
        real = ".".join((NAMES[name], *rooms))
        floor = import_module(real.partition(".")[0])
        file = Path(floor.__file__ or "")
        if HERE not in file.resolve().parents:
            raise ImportError(f"{floor.__name__} is {file} here, which hides Spikestrip's: rename it", name=spec.name)
        module = import_module(real)
        self.specs[spec.name] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """It ran under its own name; the import system has just given it the alias's spec."""
        alias = module.__spec__
        if alias is not None:
            module.__spec__ = self.specs.pop(alias.name)


def install() -> None:
    """Once, when ``spikestrip`` is imported."""
    if not any(isinstance(finder, Aliases) for finder in sys.meta_path):
        sys.meta_path.insert(0, Aliases())  # a floor has a path, by which its rooms would be found a second time
