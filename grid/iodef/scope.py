"""Which prefixes stand for which namespaces at a place of a document (Namespaces in XML 1.0 §6).

Values may use prefixes (``xsi:type="q:MLStringType"``, an XPath expression), so that a model keeps the declarations
that its elements make. What `Scope.free` would choose again is not worth keeping: `Scope.needless`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from itertools import count

from grid.iodef.names import PREFIXES, XSI

Declaration = tuple[str, str]
"""Prefix, empty for the default namespace, and namespace, empty when the default one is taken back."""

_START = "A-Z_a-z\xc0-\xd6\xd8-\xf6\xf8-\u02ff\u0370-\u037d\u037f-\u1fff\u200c\u200d\u2070-\u218f"
_START += "\u2c00-\u2fef\u3001-\ud7ff\uf900-\ufdcf\ufdf0-\ufffd\U00010000-\U000effff"
NCNAME = re.compile(f"[{_START}][-.0-9\xb7\u0300-\u036f\u203f\u2040{_START}]*")
"""A name without colon (Namespaces in XML 1.0 §3; XML 1.0, fifth edition, §2.3)."""

_USUAL = {uri: prefix for prefix, uri in PREFIXES.items()} | {XSI: "xsi"}


class Scope:
    """The declarations in force. It follows a walk: `enter` at the start of an element, `leave` at its end."""

    def __init__(self) -> None:
        self._bound: dict[str, str] = {}
        self._prefixes: dict[str, dict[str, None]] = {}  # by namespace, without those that are hidden

    @property
    def default(self) -> str:
        """The namespace of elements without prefix."""
        return self._bound.get("", "")

    def enter(self, declared: Iterable[Declaration]) -> list[tuple[str, str | None]]:
        """Put declarations in force.

        :return: what `leave` needs: the prefixes with their meaning up to now.
        """
        before = [(prefix, self._bind(prefix, uri)) for prefix, uri in declared]
        before.reverse()
        return before

    def leave(self, before: Iterable[tuple[str, str | None]]) -> None:
        """Take back what an `enter` did."""
        for prefix, uri in before:
            self._bind(prefix, uri)

    def prefix_of(self, uri: str) -> str | None:
        """A prefix, not empty, that stands for a namespace."""
        return next(reversed(self._prefixes.get(uri, {})), None)

    def free(self, uri: str) -> str:
        """A prefix for a namespace that has none: the usual one, unless it stands for something else here."""
        usual = _USUAL.get(uri)
        if usual is not None and usual not in self._bound:
            return usual
        return next(prefix for number in count(1) if (prefix := f"ns{number}") not in self._bound)

    def needless(self, declared: Collection[Declaration], used: Collection[str]) -> set[Declaration]:
        """Those declarations of an element that change nothing, or that a writer makes again by itself, for the names
        of the element and its attributes.

        :param declared: all of the element; the scope is still that of its parent.
        :param used: the namespaces of these names.
        """
        return {
            (prefix, uri)
            for prefix, uri in declared
            if self._bound.get(prefix, None if prefix else "") == uri
            or (
                _USUAL.get(uri) == prefix
                and uri in used
                and prefix not in self._bound
                and uri != self.default
                and self.prefix_of(uri) is None
                and not any(other == uri for name, other in declared if name != prefix)
            )
        }

    def _bind(self, prefix: str, uri: str | None) -> str | None:
        before = self._bound.get(prefix)
        if before is not None:
            self._prefixes.get(before, {}).pop(prefix, None)
        if uri is None:
            self._bound.pop(prefix, None)
        else:
            self._bound[prefix] = uri
            if prefix:
                self._prefixes.setdefault(uri, {})[prefix] = None
        return before
