"""Which network a config is of: the one place that chooses, by its ``model``."""

from __future__ import annotations

from typing import Any

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
