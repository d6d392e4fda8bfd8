"""Which network a config is of: the one place that chooses, by its ``model``."""

from __future__ import annotations

import os
from typing import Any

from spikestrip.errors import BadInput
from train.config import Config
from train.networks import Network
from train.speck import SpeckConfig, SpeckNetwork

AnyConfig = Config | SpeckConfig
AnyNetwork = Network | SpeckNetwork


def parse(values: dict[str, Any]) -> AnyConfig:
    """The config in a checkpoint's dictionary. Raises BadInput for a missing, unknown or impossible entry."""
    return SpeckConfig.parse(values) if values.get("model") == "speck" else Config.parse(values)


def build(config: AnyConfig) -> AnyNetwork:
    """A network as ``config`` has it, freshly initialised."""
    return SpeckNetwork(config) if isinstance(config, SpeckConfig) else Network(config)


def check_size(config: AnyConfig) -> None:
    """Raise BadInput for a network whose weights alone can't fit in this machine, before they are made one by one."""
    if isinstance(config, SpeckConfig) or not hasattr(os, "sysconf"):
        return
    least = 4 * config.layers * config.d_model * (config.d_model + 6 * config.d_state)  # bytes: mix and SSM of a block
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if least > memory:
        sizes = f"layers {config.layers}, d_model {config.d_model}, d_state {config.d_state}"
        raise BadInput("config", f"{sizes} take {least:,} bytes at least, and this machine has {memory:,}")
