"""What the tests of ``stanzagate iodef show`` share: small documents, and ways to look at their pages."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree

from stanzagate.cli import main
from stanzagate.cli.iodef_page import page
from stanzagate.cli.iodef_summary import Incident, incidents

DOCUMENTS = Path(__file__).parent / "documents"
PAGES = Path(__file__).parent / "pages"
NIGHT, OLD, MINIMAL = PAGES / "night.xml", PAGES / "night-1.0.xml", DOCUMENTS / "rfc7970-7.1.xml"

Said = pytest.CaptureFixture[str]

HEAD = """\
<IODEF-Document version="2.00" xml:lang="en" xmlns="urn:ietf:params:xml:ns:iodef-2.0">
<Incident purpose="reporting"{attributes}><IncidentID name="csirt.example.com">1</IncidentID>
<GenerationTime>2027-01-01T00:00:00Z</GenerationTime>{description}
<Contact role="creator" type="organization"{contact}><ContactName>{name}</ContactName></Contact>{rest}</Incident>
</IODEF-Document>
"""


def document(
    *, attributes: str = "", description: str = "", contact: str = "", name: str = "CSIRT", rest: str = ""
) -> str:
    return HEAD.format(attributes=attributes, description=description, contact=contact, name=name, rest=rest)


def summary(text: str) -> Incident:
    (found,) = incidents(etree.fromstring(text.encode()))
    return found


def lines(text: str, width: int = 80) -> list[str]:
    return [line.text for line in page(summary(text), width)]


def shown(file: Path, said: Said, *, code: int = 0) -> str:
    assert main(["iodef", "show", str(file)]) == code
    return said.readouterr().out


def section(text: str, title: str) -> list[str]:
    """The lines below a heading, up to the next one."""
    found = text.splitlines()
    start = found.index(title) + 1
    end = found.index("", start) if "" in found[start:] else len(found)
    return found[start:end]
