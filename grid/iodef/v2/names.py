"""The namespace of RFC 7970 and the decorator of its classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, dataclass_transform

from grid.iodef.fields import Groups, attribute, child, children, content, define, mixed
from grid.iodef.names import V2 as NAMESPACE

__all__ = ["NAMESPACE", "iodef"]

C = TypeVar("C")


# The same as in v1: a decorator that a function returned would not tell a type checker what classes it makes.
@dataclass_transform(
    frozen_default=True, kw_only_default=True, field_specifiers=(attribute, child, children, content, mixed)
)
def iodef(
    element: str = "",
    *,
    section: str,
    any_of: Groups = (),
    one_of: Groups = (),
    any_order: tuple[str, ...] = (),
) -> Callable[[type[C]], type[C]]:
    """Declare a class of RFC 7970; see `grid.iodef.fields.define`."""
    return define(NAMESPACE, element, section=section, any_of=any_of, one_of=one_of, any_order=any_order)
