"""Saying where a defect of ours shows, without what the exception says: that may quote a stanza."""

from __future__ import annotations

import traceback


def shown(defect: BaseException) -> str:
    """The kind of an exception and the places that it came through, for the log."""
    frames = "".join(traceback.format_tb(defect.__traceback__))
    return f"{type(defect).__name__}, a defect\n{frames}"
