"""Pairs of domains and the routes between them."""

from __future__ import annotations

from typing import NamedTuple


class Pair(NamedTuple):
    """A local domain and a partner's, both prepared."""

    local: str
    remote: str

    def __str__(self) -> str:
        return f"{self.local} ⇄ {self.remote}"
