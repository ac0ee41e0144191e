"""Writing a stanza anew so that it means the same on a stream of another content namespace.

On a stream a stanza is in the content namespace, which is ``jabber:server`` between servers and
``jabber:component:accept`` towards our own. It changes on the way: whoever is in it is written without a namespace of
its own, and takes that of the stream on which it goes.

>>> anew(fromstring("<iq xmlns='jabber:server'><x xmlns='a'><message xmlns='jabber:server'/></x></iq>"), SERVER)
b"<iq><n1:x xmlns:n1='a'><message/></n1:x></iq>"
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree.ElementTree import Element

from component.relay import ns
from component.relay.wire.text import quote, text

_XML = {ns.XML: "xml"}


def anew(element: Element, content: str) -> bytes:
    """The element with the content namespace left out and all others declared.

    What stands in no namespace cannot have a prefix, so an element of the content namespace inside of such a one
    keeps its namespace in so many words.

    :param element: Clark names, no deeper than `component.relay.wire.parser.DEEPEST`.
    :param content: the namespace to leave out.
    """
    return _Writer(element, content).written.encode()


class _Writer:
    """One document; prefixes are n1, n2, … in order of appearance.

    :ivar _around: identities of the elements around one in the content namespace: they must not change the default
        namespace, or it could not be left out.
    """

    def __init__(self, element: Element, content: str) -> None:
        self._inside = f"{{{content}}}"
        self._around: set[int] = set()
        self._find(element)
        self._prefixes = 0
        self._out: list[str] = []
        self._write(element, content, content, _XML)
        self.written = "".join(self._out)

    def _find(self, element: Element) -> bool:
        found = False
        for child in element:
            if self._find(child):
                found = True
        if found:
            self._around.add(id(element))
        return found or element.tag.startswith(self._inside)

    def _write(self, element: Element, content: str, default: str, prefixes: Mapping[str, str]) -> None:
        """:param default: the default namespace that is in force around the element."""
        namespace, name = split(element.tag)
        declarations: list[str] = []
        if namespace != default:
            if namespace and (namespace == ns.XML or (default == content and id(element) in self._around)):
                prefixes, prefix = self._prefix(namespace, prefixes, declarations)
                name = f"{prefix}:{name}"
            else:
                declarations.append(f" xmlns='{quote(namespace)}'")
                default = namespace
        attributes: list[str] = []
        for key, value in element.items():
            namespace, local = split(key)
            if namespace:
                prefixes, prefix = self._prefix(namespace, prefixes, declarations)
                local = f"{prefix}:{local}"
            attributes.append(f" {local}='{quote(value)}'")
        out = self._out
        out += ("<", name, *declarations, *attributes)
        if not len(element) and not element.text:
            out.append("/>")
            return
        out.append(">")
        if element.text:
            out.append(text(element.text))
        for child in element:
            self._write(child, content, default, prefixes)
            if child.tail:
                out.append(text(child.tail))
        out += ("</", name, ">")

    def _prefix(
        self, namespace: str, prefixes: Mapping[str, str], declarations: list[str]
    ) -> tuple[Mapping[str, str], str]:
        known = prefixes.get(namespace)
        if known:
            return prefixes, known
        self._prefixes += 1
        prefix = f"n{self._prefixes}"
        declarations.append(f" xmlns:{prefix}='{quote(namespace)}'")
        return {**prefixes, namespace: prefix}, prefix


def split(name: str) -> tuple[str, str]:
    """Namespace and local part of a Clark name; an empty namespace when it has none."""
    if name[:1] != "{":
        return "", name
    namespace, _, local = name[1:].rpartition("}")
    return namespace, local
