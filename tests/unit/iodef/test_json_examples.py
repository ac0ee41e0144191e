"""The examples of the standards through JSON and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lxml import etree

from grid.iodef import codec, v2
from grid.iodef.json import Lossy, from_json, from_object, to_json, to_object
from grid.iodef.names import XSI
from grid.iodef.parsing import parse
from grid.iodef.validation import validate

DOCUMENTS = Path(__file__).parent / "documents"

MINIMAL = """{
  "version": "2.0",
  "lang": "en",
  "Incident": [{
      "purpose": "reporting",
      "restriction": "private",
      "IncidentID": {
        "id": "492382",
        "name": "csirt.example.com"
      },
      "GenerationTime": "2015-07-18T09:00:00-05:00",
      "Contact": [{
          "type": "organization",
          "role": "creator",
          "Email": [{"EmailTo": "contact@csirt.example.com"}]
      }]
  }]
}"""
"""RFC 8727, section 4.1, figure 1."""

CAMPAIGN = """{
  "version": "2.0",
  "lang": "en",
  "Incident": [{
    "purpose": "watch",
    "restriction": "green",
    "IncidentID": {
      "id": "897923",
      "name": "csirt.example.com"
    },
    "RelatedActivity": [{
      "ThreatActor": [{
        "ThreatActorID": ["TA-12-AGGRESSIVE-BUTTERFLY"],
        "Description": ["Aggressive Butterfly"]}],
      "Campaign": [{
        "CampaignID": ["C-2015-59405"],
        "Description": ["Orange Giraffe"]
      }]
    }],
    "GenerationTime": "2015-10-02T11:18:00-05:00",
    "Description": ["Summarizes the Indicators of Compromise for the Orange Giraffe campaign of the Aggressive Butterfly crime gang."],
    "Assessment": [{
      "Impact": [{"BusinessImpact": {"type": "breach-proprietary"}}]
    }],
    "Contact": [{
      "type": "organization",
      "role": "creator",
      "ContactName": ["CSIRT for example.com"],
      "Email": [{
        "EmailTo": "contact@csirt.example.com"
      }]
    }],
    "Indicator": [{
      "IndicatorID": {
        "id": "G90823490",
        "name": "csirt.example.com",
        "version": "1"
      },
      "Description": ["C2 domains"],
      "StartTime": "2014-12-02T11:18:00-05:00",
      "Observable": {
        "BulkObservable": {
          "type": "domain-name",
          "BulkObservableList": "kj290023j09r34.example.com"}
      }
    }]
  }]
}"""  # noqa: E501
"""RFC 8727, section 4.2, figure 3; its Description is in one line here: JSON has no line breaks in strings."""


def canonical(xml: bytes) -> bytes:
    """Exclusive canonical XML, without the hint at a schema, which JSON does not carry."""
    root = parse(xml).getroot()
    root.attrib.pop(f"{{{XSI}}}schemaLocation", None)
    return etree.tostring(root, method="c14n", exclusive=True)


def load(name: str) -> v2.Document:
    """A document of the folder, which must be valid."""
    tree = parse((DOCUMENTS / name).read_bytes())
    assert validate(tree) == []
    return codec.read(v2.Document, tree.getroot())


@pytest.mark.parametrize("text", [MINIMAL, CAMPAIGN])
def test_the_examples_of_rfc_8727_come_back_as_they_were(text: str) -> None:
    document = from_json(text)
    assert to_object(document) == json.loads(text)
    assert from_json(to_json(document)) == document


@pytest.mark.parametrize("text", [MINIMAL, CAMPAIGN])
def test_the_examples_of_rfc_8727_are_valid_xml(text: str) -> None:
    assert validate(parse(codec.dump(from_json(text)))) == []


def test_the_minimal_examples_of_both_standards_say_the_same() -> None:
    xml = load("rfc7970-7.1.xml")
    assert canonical(codec.dump(from_json(MINIMAL))) == canonical(codec.dump(xml))


@pytest.mark.parametrize(
    "name", ["rfc7970-7.1.xml", "rfc7970-7.2.xml", "rfc8600-publish.xml", "rfc8600-notification.xml"]
)
def test_the_examples_of_rfc_7970_and_8600_keep_their_meaning(name: str) -> None:
    document = load(name)
    back = from_json(to_json(document))
    assert canonical(codec.dump(back)) == canonical(codec.dump(document))


def test_bytes_and_text_are_the_same_document() -> None:
    assert from_json(MINIMAL.encode()) == from_json(MINIMAL) == from_object(json.loads(MINIMAL))


def test_a_document_with_everything_says_what_json_cannot_carry() -> None:
    document = load("everything-2.0.xml")
    with pytest.raises(Lossy) as refused:
        to_json(document)
    places = {problem.path for problem in refused.value.problems}
    assert {
        "/IODEF-Document/Incident[1]/EventData/Record",
        "/IODEF-Document/Incident[1]/EventData/Record/RecordData/FileData/File/HashData",
        "/IODEF-Document/Incident[1]/Method/Weakness",
    } <= places


def test_what_remains_of_it_is_kept() -> None:
    rest = to_json(load("everything-2.0.xml"), lossy=True)
    document = from_json(rest)
    assert to_json(document) == rest
    event = document.incident[0].event_data[0]
    assert event.record is not None
    assert event.record.restriction is None
    assert event.record.record_data
    assert event.flow[0].system[0].node.domain_data
    assert event.flow[0].system[0].node.address
