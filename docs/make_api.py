"""Writes docs/api.md from the docstrings of the public names: ``python docs/make_api.py``."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "api.md"

ROOMS = {
    "spikestrip": "The face: `import spikestrip as ss`.",
    "spikestrip.nn": "Trainable torch modules ([how to use them](how-to-use-modules.md)).",
    "spikestrip.operations": "What a program is made of. A step takes and gives (B, *shape); states start at zero.",
    "simulators.backends": "What a simulator is to us ([how to add one](how-to-add-a-backend.md)).",
    "deploy.verification": "Why two traces differ ([verify](verify.md)).",
}
"""The rooms whose names others may import; all else can change without a word."""

HEAD = """# API

Made by `python docs/make_api.py` from the docstrings. Shapes: B samples, T steps, C channels, N neurons of a layer.
Time is counted in steps; `dt` alone is in seconds. Errors are those of `spikestrip.errors`: `BadInput`, and its kind
`Refused`, name file, layer and reason in one line.
"""


def page() -> str:
    """The whole page."""
    sys.path[:0] = [str(ROOT)] * (str(ROOT) not in sys.path)
    parts = [HEAD]
    for room, about in ROOMS.items():
        parts.append(f"## `{room}`\n\n{about}\n")
        parts += [entry(*each) for each in public(import_module(room))]
    return "\n".join(parts)


def public(module: ModuleType) -> Iterator[tuple[str, Any, bool]]:
    """Every class and function of a room by name, each with its methods and properties (False: not called)."""
    for name in exported(module):
        value = getattr(module, name)
        if not (inspect.isclass(value) or inspect.isfunction(value)) or value is Any:
            continue  # a table, or a name for a type
        yield name, value, True
        for each, member in vars(value).items() if inspect.isclass(value) else ():
            inner = getattr(member, "func", getattr(member, "fget", member))
            own = not each.startswith("_") and inspect.isfunction(inner)
            if own and (inner.__doc__ or each not in inherited(value)):
                yield f"{name}.{each}", inner, inner is member


def inherited(kind: type) -> set[str]:
    """What its bases say already."""
    return {name for base in kind.__mro__[1:] for name in vars(base)}


def exported(module: ModuleType) -> list[str]:
    """The public names of a room: its ``__all__``, or what it defines itself."""
    own = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    ]
    return list(getattr(module, "__all__", own))


def entry(name: str, value: Any, called: bool) -> str:
    """Heading, signature and docstring."""
    level = "####" if "." in name else "###"
    base = f" ({value.__mro__[1].__name__})" if inspect.isclass(value) and value.__mro__[1] is not object else ""
    return f"{level} `{name}`{base}\n\n```text\n{signature(name, value, called)}\n\n{documented(value)}\n```\n"


def documented(value: Any) -> str:
    """Its own docstring; the one that dataclasses make up counts as none."""
    text = inspect.cleandoc(value.__doc__ or "")
    return "" if inspect.isclass(value) and text.startswith(f"{value.__name__}(") else text


def signature(name: str, value: Any, called: bool) -> str:
    """As one writes it: annotations without quotes, self left out."""
    if inspect.isclass(value) and (issubclass(value, Exception) or getattr(value, "_is_protocol", False)):
        return f"class {name}"
    found = inspect.signature(value)
    if not called:
        return f"{name} -> {found.return_annotation!s}".replace("'", "")
    kept = [parameter for parameter in found.parameters.values() if parameter.name != "self"]
    text = str(found.replace(parameters=kept))
    text = re.sub(r"(: |-> )(?:'([^']*)'|\"([^\"]*)\")", r"\1\2\3", text)
    return name + re.sub(r"<function <lambda> at \w+>|<\w+>", "...", text)


if __name__ == "__main__":
    PAGE.write_text(page())
