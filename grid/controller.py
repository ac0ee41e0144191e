"""The XMPP-Grid controller: its parts, and the order of things between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class Grid:
    """The parts of one grid, for the admin API."""

    accounts: Any
    authority: Any
    access: Any
    topics: Any
    programmer: Any
    sessions: Any
    alerts: Any
