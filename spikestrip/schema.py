"""What a JSON file may hold, said as a value of the same form, and the check of it."""

from __future__ import annotations

import math
from typing import Any

from spikestrip.errors import BadInput

LARGEST = 2**63
"""A number of more has nothing to count, and no float."""


def check(file: object, value: Any, form: Any, where: str = "") -> None:
    """Raise BadInput(file), naming the entry, unless ``value`` has ``form``.

    form: a type (float: any finite number, int: no bool); a tuple of words; [form], a list of such; {str: form}, an
    object of such by any name; or {name: form, ...}, an object with at least these, of which "name?" may be absent or
    null.
    """
    if isinstance(form, list):
        _check_type(file, value, list, where)
        for index, inner in enumerate(value):
            check(file, inner, form[0], f"{where}[{index}]")
    elif isinstance(form, dict):
        _check_type(file, value, dict, where)
        for name, inner in form.items():
            if name is str:
                for key, entry in value.items():
                    check(file, entry, inner, f"{where}.{key}")
            elif name.endswith("?"):
                if value.get(name[:-1]) is not None:
                    check(file, value[name[:-1]], inner, f"{where}.{name[:-1]}")
            elif name not in value:
                raise BadInput(file, f"lacks {f'{where}.{name}'.lstrip('.')}")
            else:
                check(file, value[name], inner, f"{where}.{name}")
    elif isinstance(form, tuple):
        if value not in form:
            raise BadInput(file, f"{where.lstrip('.')} is {value!r}, not one of {', '.join(form)}")
    else:
        _check_type(file, value, form, where)


def _check_type(file: object, value: Any, kind: type, where: str) -> None:
    right = isinstance(value, int | float if kind is float else kind) and isinstance(value, bool) == (kind is bool)
    if not right or (isinstance(value, int | float) and not (math.isfinite(value) and abs(value) < LARGEST)):
        raise BadInput(file, f"{where.lstrip('.') or 'the whole'} is {value!r}, not {kind.__name__}")
