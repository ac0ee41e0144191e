"""The data types of section 2 of RFC 7970: what is written, and what it means."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from lxml import etree

from grid.iodef.types import Base64, DateTime, Foreign, HexBinary, PortList, Timezone, real, real_text
from tests.unit.iodef.minimal_v2 import again, minimal

EAST = timezone(timedelta(hours=5, minutes=30))


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2015-07-18T09:00:00Z", datetime(2015, 7, 18, 9, tzinfo=UTC)),
        ("2015-07-18T09:00:00+05:30", datetime(2015, 7, 18, 9, tzinfo=EAST)),
        ("2015-07-18T09:00:00-05:00", datetime(2015, 7, 18, 14, tzinfo=UTC)),
        ("2015-07-18T09:00:00", datetime(2015, 7, 18, 9)),  # noqa: DTZ001  the standard has local times
        ("2015-07-18T09:00:00.5Z", datetime(2015, 7, 18, 9, 0, 0, 500_000, tzinfo=UTC)),
        ("2015-07-18T09:00:00.1234567899Z", datetime(2015, 7, 18, 9, 0, 0, 123_456, tzinfo=UTC)),
        ("2015-12-31T24:00:00Z", datetime(2016, 1, 1, tzinfo=UTC)),
        ("2015-12-31T24:00:00.000Z", datetime(2016, 1, 1, tzinfo=UTC)),
        ("2016-02-29T00:00:00Z", datetime(2016, 2, 29, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (" 2015-07-18T09:00:00Z\n", datetime(2015, 7, 18, 9, tzinfo=UTC)),
    ],
)
def test_moments(written: str, moment: datetime):
    found = DateTime(written).moment
    assert found == moment
    assert (found.tzinfo is None) == (moment.tzinfo is None)


@pytest.mark.parametrize(
    "written",
    [
        "9999-12-31T24:00:00Z",
        "10000-01-01T00:00:00Z",
        "-0044-03-15T12:00:00Z",
        "0000-01-01T00:00:00Z",
        "1" * 20_000 + "-01-01T00:00:00Z",
        "2015-02-29T00:00:00Z",
        "2015-07-18T24:30:00Z",
        "2015-07-18T24:00:00.5Z",
        "2015-07-18T25:00:00Z",
        "2015-07-18T09:00:60Z",
        "2015-07-18T09:00:00+99:99",
        "2015-07-18 09:00:00Z",
        "2015-07-18",
        "\N{NO-BREAK SPACE}2015-07-18T09:00:00Z",
        "٢٠١٥-07-18T09:00:00Z",
        "",
    ],
)
def test_dates_that_python_has_no_moment_for(written: str):
    with pytest.raises(ValueError) as caught:
        _ = DateTime(written).moment
    assert len(str(caught.value)) < 200


def test_a_moment_is_written_and_read_again():
    moment = datetime(2026, 11, 21, 19, 4, 10, 250_000, tzinfo=EAST)
    assert DateTime.of(moment) == "2026-11-21T19:04:10.250000+05:30"
    assert DateTime.of(moment).moment == moment


@pytest.mark.parametrize(
    ("written", "minutes"),
    [("Z", 0), ("+00:00", 0), ("+05:30", 330), ("-05:00", -300), ("-00:30", -30), ("+14:00", 840)],
)
def test_offsets(written: str, minutes: int):
    assert Timezone(written).offset == timedelta(minutes=minutes)


@pytest.mark.parametrize(
    "written", ["", "z", "UTC", "5:30", "+5:30", "+0530", "+1x:00", "+05x30", "+05:60", "+05:300"]
)
def test_what_is_no_offset(written: str):
    with pytest.raises(ValueError, match="is not an offset from UTC"):
        _ = Timezone(written).offset


@pytest.mark.parametrize(
    ("written", "ranges"),
    [
        ("80", ((80, 80),)),
        ("2,5-15,30", ((2, 2), (5, 15), (30, 30))),
        ("0-65535", ((0, 65535),)),
        ("000080", ((80, 80),)),
    ],
)
def test_port_lists(written: str, ranges: tuple[tuple[int, int], ...]):
    assert PortList(written).ranges == ranges


@pytest.mark.parametrize("written", ["", ",", "80,", "-5", "5-", "1-2-3", "1_0", "٣", "http", "80, 81"])
def test_what_is_no_port_list(written: str):
    with pytest.raises(ValueError, match="is not a list of ports"):
        _ = PortList(written).ranges


def test_octets():
    octets = bytes(range(256))
    assert Base64.of(octets).octets == octets == HexBinary.of(octets).octets
    assert Base64("AQ\n I=\t").octets == b"\1\2"
    assert HexBinary("0aFF").octets == b"\x0a\xff"


@pytest.mark.parametrize("written", ["A", "AQI", "AQ=I", "A?I=", "é"])
def test_what_is_no_base64(written: str):
    with pytest.raises(ValueError):
        _ = Base64(written).octets


@pytest.mark.parametrize("written", ["0", "0G", "é0"])
def test_what_is_no_hexadecimal(written: str):
    with pytest.raises(ValueError):
        _ = HexBinary(written).octets


@pytest.mark.parametrize("written", ["10000.00", "-0", "0.5", "1E+5", "1E-7", "INF", "-INF", "NaN"])
def test_numbers_keep_their_form(written: str):
    assert real_text(real(written)) == written


def test_what_is_not_a_number_equals_itself():
    assert real(" NaN ") is real("NaN")
    assert real("INF") == Decimal("Infinity")


# Foreign


def foreign(xml: str) -> Foreign:
    return Foreign.of(etree.fromstring(xml))


def test_an_element_is_kept_in_canonical_form_without_what_follows_it():
    root = etree.fromstring('<r xmlns:q="urn:q" xml:lang="en"><x b="2" a="1"/>after</r>')
    assert Foreign.of(root[0]).xml == b'<x xmlns:q="urn:q" a="1" b="2"></x>'


@pytest.mark.parametrize(
    "xml",
    ['<é xmlns="" ü="1">ä</é>', '<日本:項目 xmlns:日本="urn:jp"/>', '<é xmlns="relative"/>'],
    ids=["no namespace", "prefix", "a relative namespace, which has no canonical form"],
)
def test_names_may_be_of_any_script(xml: str):
    kept = foreign(xml)
    assert kept.tag == etree.fromstring(xml).tag
    document = minimal(f'<AdditionalData dtype="xml">{xml}</AdditionalData>')
    assert again(document) == document


def test_nobody_can_change_what_is_kept():
    kept = foreign('<x xmlns="urn:u">text</x>')
    kept.element.tag = "evil"
    kept.element.text = "other"
    assert (kept.tag, kept.element.tag, kept.element.text) == ("{urn:u}x", "{urn:u}x", "text")
    with pytest.raises(AttributeError):
        kept.xml = b"<y/>"  # type: ignore[misc]


@pytest.mark.parametrize("used", [False, True], ids=["untouched", "looked at"])
def test_it_can_be_copied_and_pickled(used: bool):
    document = minimal('<AdditionalData dtype="xml"><x xmlns="urn:u">a</x></AdditionalData>')
    (kept,) = document.incident[0].additional_data[0].content
    assert isinstance(kept, Foreign)
    if used:
        assert kept.element.tag == kept.tag == "{urn:u}x"
    for made in (pickle.loads(pickle.dumps(kept)), copy.copy(kept), copy.deepcopy(kept)):
        assert made == kept and hash(made) == hash(kept) and made.tag == kept.tag
    assert pickle.loads(pickle.dumps(document)) == document == copy.deepcopy(document)


def test_the_deepest_document_can_be_copied():
    levels = 230
    contacts = '<Contact role="irt" type="person">' * levels + "<ContactName>x</ContactName>" + "</Contact>" * levels
    document = minimal(contacts)
    assert copy.deepcopy(document) == document
    assert pickle.loads(pickle.dumps(document)) == document
