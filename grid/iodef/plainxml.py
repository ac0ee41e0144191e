"""One way to write an element, whatever prefixes it came with.

XMPP servers and libraries choose prefixes anew, so the same payload arrives in many spellings. Here each element
declares its namespace as the default one where it changes. Prefixes inside of values lose their meaning, as they do
on the way through servers.
"""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from lxml import etree

from grid.iodef.names import PREFIXES, split

_ENTITIES = {"\r": "&#13;"}


def text(element: etree._Element) -> str:
    """The element as XML, without its tail."""
    parts: list[str] = []
    _write(element, "", parts)
    return "".join(parts)


def _write(element: etree._Element, around: str, parts: list[str]) -> None:
    """Append an element whose place has the default namespace `around`."""
    namespace, name = split(str(element.tag))
    parts.append(f"<{name}")
    if namespace != around:
        parts.append(f" xmlns={quoteattr(namespace)}")
    foreign = 0
    for key, value in sorted((str(key), str(value)) for key, value in element.items()):
        home, short = split(key)
        if home == PREFIXES["xml"]:
            short = f"xml:{short}"
        elif home:
            foreign += 1
            parts.append(f" xmlns:a{foreign}={quoteattr(home)}")
            short = f"a{foreign}:{short}"
        parts.append(f" {short}={quoteattr(value, _ENTITIES)}")
    parts.append(">")
    parts.append(escape(element.text or "", _ENTITIES))
    for part in element:
        _write(part, namespace, parts)
        parts.append(escape(part.tail or "", _ENTITIES))
    parts.append(f"</{name}>")
