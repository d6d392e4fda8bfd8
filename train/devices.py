"""Devices by name, as ``--device`` gives them."""

from __future__ import annotations

import torch

from spikestrip.errors import BadInput


def check_device(name: str) -> None:
    """Raise BadInput unless ``name`` is cpu, or cuda (cuda:N) on a machine that has it."""
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdecimal()):
        raise BadInput("--device", f"{name!r} is neither cpu nor cuda")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise BadInput(f"--device {name}", "this machine has no such CUDA device that torch can use")
