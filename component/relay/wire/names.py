"""Clark names for the names that expat gives.

Expat looks up every name in a dictionary of ours and hands out what it finds there. So a name costs something when it
comes for the first time; from then on it arrives as a Clark name.
"""

from __future__ import annotations

from component.relay import ns

SEPARATOR = "\x01"
"""Between namespace and local part. It is no character of XML, so no namespace can contain it."""

_MEMORY = 64 * 1024
"""Characters that are remembered."""

_XML = f"{{{ns.XML}}}"


class BadNamespace(Exception):
    """A namespace that is no URI could be taken for a part of a Clark name."""


class Names:
    """What is remembered of names, in bounds.

    :ivar interned: what expat looks in.
    :ivar tags: names of elements that need not be learned.
    :ivar attributes: names of attributes that need not be learned. Those in a namespace, but for ``xml:lang`` and its
        like, are never among them, so that each can be weighed.
    """

    def __init__(self) -> None:
        self.interned: dict[str, str] = {}
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self._remembered = 0

    def tag(self, name: str) -> str:
        """Learn the name of an element.

        :raises BadNamespace: it has none that can be written.
        """
        name = self._named(name)
        self.tags.add(name)
        return name

    def attributes_of(self, attributes: dict[str, str]) -> tuple[dict[str, str], int]:
        """Learn the names of attributes.

        :return: the attributes, and the weight of their names in characters.
        :raises BadNamespace: one has none that can be written.
        """
        named: dict[str, str] = {}
        weight = 0
        for given, value in attributes.items():
            name = self._named(given)
            named[name] = value
            if name[0] != "{" or name.startswith(_XML):
                self.attributes.add(name)
            else:
                weight += len(name)
        return named, weight

    def _named(self, name: str) -> str:
        if self._remembered > _MEMORY:
            self._remembered = 0
            self.interned.clear()
            self.tags.clear()
            self.attributes.clear()
        self._remembered += 2 * len(name)
        if SEPARATOR not in name:
            return name  # it stands in no namespace, or expat has found it
        namespace, _, local = name.rpartition(SEPARATOR)
        if "{" in namespace or "}" in namespace:
            raise BadNamespace
        clark = f"{{{namespace}}}{local}"
        self.interned[name] = clark
        return clark
