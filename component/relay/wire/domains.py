"""Domains as they stand in stream headers and dialback elements."""

from __future__ import annotations

from component.base.jid import JidError, prepare_often


def domain(value: str | None) -> str | None:
    """The domain, prepared; None when it is missing or is not one."""
    if not value or "@" in value or "/" in value:
        return None
    try:
        return prepare_often(value).full
    except JidError:
        return None
