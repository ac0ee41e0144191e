"""Documents written by hand, small and of a hundred megabytes, and what a process needs to look at one.

Called as a program it makes one of `LARGE`, looks at it, and prints what came out and how much more memory it took.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from grid import iodef
from grid.iodef.names import V1, V2

TOP = Path(__file__).parents[3]
MB = 1 << 20
HUGE = 100 * MB
HEAD = f'<IODEF-Document version="2.00" xmlns="{V2}">'
_CONTACT = '<Contact role="creator" type="person"><ContactName>A</ContactName></Contact>'
_IDENTIFIER = '<IncidentID name="csirt.example.com">1</IncidentID>'


def document_v2(before: str = "", after: str = "", *, root: str = "", incident: str = 'purpose="watch"') -> str:
    """IODEF 2.0.

    :param before: parts that stand before the contact (Description, Assessment, Method).
    :param after: parts that stand after it (Contact, EventData, IndicatorData, History, AdditionalData).
    :param root: attributes of the root.
    """
    return (
        f'<IODEF-Document version="2.00" xmlns="{V2}"{root}>\n<Incident {incident}>\n{_IDENTIFIER}\n'
        f"<GenerationTime>2026-11-21T09:00:00Z</GenerationTime>\n{before}\n{_CONTACT}\n{after}\n"
        f"</Incident>\n</IODEF-Document>"
    )


def document_v1(before: str = "", after: str = "", *, root: str = "", incident: str = 'purpose="reporting"') -> str:
    """The same in IODEF 1.0; `before` holds what stands between the assessment and the contact."""
    return (
        f'<IODEF-Document version="1.00" lang="en" xmlns="{V1}"{root}>\n<Incident {incident}>\n{_IDENTIFIER}\n'
        "<ReportTime>2026-11-21T09:00:00Z</ReportTime>\n"
        f'<Assessment><Impact type="dos"/></Assessment>\n{before}\n{_CONTACT}\n{after}\n'
        f"</Incident>\n</IODEF-Document>"
    )


def extension(content: str, dtype: str = "xml") -> str:
    """An AdditionalData with this in it."""
    return f'<AdditionalData dtype="{dtype}">{content}</AdditionalData>'


def _filled(unit: bytes, size: int, before: str = "", after: str = "") -> bytes:
    """A document of 2.0 whose extension is `unit` again and again."""
    start, end = (each.encode() for each in document_v2(after=extension(f"{before}\0{after}")).split("\0"))
    return b"".join([start, unit * (size // len(unit)), end])


def _names(size: int) -> bytes:
    """Attributes, each of a name of its own."""
    return b"".join(b' a%07d=""' % number for number in range(size // 12))


def _laughs(levels: int, opening: str = "", closing: str = "&e{last};") -> bytes:
    entities = "".join(
        f'<!ENTITY e{level + 1} "{f"&e{level};" * 10}">' if level >= 0 else '<!ENTITY e0 "ha">'
        for level in range(-1, levels)
    )
    return f"<!DOCTYPE a [{entities}]><a{opening}>{closing.format(last=levels)}</a>".encode()


LARGE: dict[str, Callable[[int], bytes]] = {
    "nesting": lambda size: _filled(b"<a>", size),
    "nesting of contacts": lambda size: (
        document_v2().split("<Contact ")[0].encode() + b'<Contact role="creator" type="person">' * (size // 38)
    ),
    "one text": lambda size: _filled(b"x", size),
    "one CDATA section": lambda size: _filled(b"x", size, "<![CDATA[", "]]>"),
    "CDATA sections": lambda size: _filled(b"<![CDATA[]]>", size),
    "one attribute": lambda size: _filled(b"x", size, '<a xmlns="u" b="', '"/>'),
    "attributes of one element": lambda size: _filled(b"\1", 1, "<a", "/>").replace(b"\1", _names(size)),
    "attributes of many elements": lambda size: _filled(
        b"<a" + b"".join(b' %c="x"' % letter for letter in range(97, 117)) + b"/>", size
    ),
    "one comment": lambda size: _filled(b"x", size, "<!--", "-->"),
    "comments": lambda size: _filled(b"<!---->", size),
    "instructions": lambda size: _filled(b"<?a?>", size),
    "one instruction": lambda size: _filled(b"x", size, "<?a ", "?>"),
    "one name": lambda size: _filled(b"x", size, "<", "/>"),
    "siblings": lambda size: _filled(b"<a/>", size),
    "siblings and texts": lambda size: _filled(b"<a/>x", size),
    "character references": lambda size: _filled(b"&#65;", size),
    "namespaces": lambda size: _filled(b'<a xmlns:p="u"/>', size),
    "wrong contacts": lambda size: (
        document_v2(after="\0").encode().replace(b"\0", b'<Contact role="zz" type="person"/>' * (size // 34))
    ),
    "empty incidents": lambda size: b"".join([HEAD.encode(), b"<Incident/>" * (size // 11), b"</IODEF-Document>"]),
    "billion laughs": lambda size: _laughs(9),
    "billion laughs in an attribute": lambda size: _laughs(9, ' b="&e9;"', ""),
    "billion laughs in UTF-7": lambda size: (
        b'<?xml version="1.0" encoding="UTF-7"?>' + _laughs(9, ' b="&e9;"', "").decode().encode("utf-7")
    ),
    "billion laughs in UTF-7, hidden": lambda size: (
        b'<?xml version="1.0" encoding="UTF-7"?>'
        + _laughs(9, ' b="&e9;"', "").replace(b"<", b"+ADw-").replace(b"&", b"+ACY-")
    ),
    "quadratic blow-up": lambda size: (
        f'<!DOCTYPE a [<!ENTITY e "{"x" * 100_000}">]><a b="{"&e;" * 100_000}"/>'
    ).encode(),
}
"""Sources by their kind, made to a size."""


class Outcome(NamedTuple):
    """What came of a source.

    :ivar told: messages; none when it is valid.
    :ivar taken: bytes of memory at the peak, beyond those that the source takes itself.
    """

    told: list[str]
    taken: int


def looked_at(kinds: Iterable[str], size: int, limits: iodef.Limits) -> dict[str, Outcome]:
    """Have a process of its own check these of `LARGE`, one after the other."""
    numbers = map(str, (size, limits.size, limits.elements))
    command = [sys.executable, "-m", __name__, *numbers, *kinds]
    done = subprocess.run(command, cwd=TOP, capture_output=True, check=True)
    return {kind: Outcome(*outcome) for kind, outcome in json.loads(done.stdout).items()}


def _peak() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _look(kind: str, size: int, limits: iodef.Limits) -> Outcome:
    source = LARGE[kind](size)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that from now on
    before = _peak()
    told: list[str] = []
    try:
        iodef.check(source, limits=limits)
    except iodef.Invalid as refused:
        told = [problem.message for problem in refused.problems]
    except Exception as error:
        told = [f"not Invalid but {error!r}"[:200]]
    return Outcome(told, _peak() - before)


def _main(size: str, most: str, elements: str, *kinds: str) -> None:
    iodef.check(document_v2().encode())  # compiles the schema
    limits = iodef.Limits(size=int(most), elements=int(elements))
    sys.stdout.write(json.dumps({kind: _look(kind, int(size), limits) for kind in kinds}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
