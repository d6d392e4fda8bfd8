"""What an installation may lack: the extras of the package, what is in each, and how to get them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires, version

APART = {"lava": "lava-nc", "sinabs": "sinabs"}
"""Extra -> what is installed beside it, without its own requirements, which ask for old releases (see the Makefile)."""
IMPORTED = {"PIL": "pillow", "sklearn": "scikit-learn", "lava": "lava-nc"}
"""Module -> its package, where they have two names."""


def extras() -> dict[str, dict[str, str | None]]:
    """Extra -> package -> its version here, or None where it is missing."""
    from packaging.requirements import Requirement

    found: dict[str, dict[str, str | None]] = {}
    for line in requires("spikestrip") or []:
        requirement = Requirement(line)
        if requirement.marker is None or "extra ==" not in str(requirement.marker):
            continue
        extra = str(requirement.marker).split("extra ==")[1].strip(" \"'")
        found.setdefault(extra, {})[requirement.name] = _version(requirement.name)
    for extra, name in APART.items():
        found.setdefault(extra, {})[name] = _version(name)
    return found


def remedy(extra: str) -> str:
    """The command that installs ``extra``."""
    install = f"pip install 'spikestrip[{extra}]'"
    if extra not in APART:
        return install
    return f"{install} && pip install --no-deps --ignore-requires-python {APART[extra]}"


def missing(module: str, wanted: Sequence[str] = ()) -> str | None:
    """What to do where ``module`` can't be imported; None where no extra brings it: the installation isn't at fault.

    wanted: extras to name first, where several bring it.
    """
    top = module.partition(".")[0]
    package = IMPORTED.get(top, top).replace("_", "-").lower()
    bring = [extra for extra, packages in extras().items() if package in map(str.lower, packages)]
    if not bring:
        return None
    chosen = next((extra for extra in wanted if extra in bring), bring[0])
    return f"{package}: is not installed, and this needs it: {remedy(chosen)}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
