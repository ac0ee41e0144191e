"""Plain values to JSON text.

Python's `json` writes REAL, a `Decimal`, only as a float, and 10000.00 would become 10000.0. These few lines are all
that is needed instead.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any


def dumps(value: Any, indent: int = 2) -> str:
    """The text of a value, with a line for each member.

    :param value: of dict, list, str, int, bool and finite `Decimal`; not nested without bounds.
    :param indent: spaces of each level.
    """
    return "".join(_parts(value, "\n", " " * indent)) + "\n"


def _parts(value: Any, line: str, indent: str) -> list[str]:
    if isinstance(value, dict) and value:
        inner = line + indent
        members = (f"{_quoted(key)}: {''.join(_parts(each, inner, indent))}" for key, each in value.items())
        return ["{", inner, f",{inner}".join(members), line, "}"]
    if isinstance(value, list) and value:
        inner = line + indent
        return ["[", inner, f",{inner}".join("".join(_parts(each, inner, indent)) for each in value), line, "]"]
    return [str(value) if isinstance(value, Decimal) else _quoted(value)]


def _quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
