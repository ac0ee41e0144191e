"""Incidents in JSON: RFC 8727 to and from the model of RFC 7970.

::

    text = to_json(document)          # Lossy, when JSON cannot carry all of it
    document = from_json(text)        # Invalid, with everything that is wrong

The CDDL of RFC 8727, section 6, decides; ``schemas/iodef-json.schema.json`` is the same as a JSON schema. What JSON
does otherwise than XML, and what becomes of it here (`mapping` has these as tables):

=============================================  =====================================================================
XML (RFC 7970)                                 JSON (RFC 8727)
=============================================  =====================================================================
attributes, elements                           keys; ``xml:lang`` is ``lang``, the text of an element ``value``
text of IncidentID, IndicatorID                ``id``; that of RegistryHandle ``handle``
``version="2.00"``                             ``"2.0"``; ``"2.00"`` is understood too
Flow, Record, IndicatorData                    gone: System, RecordData, Indicator stand in their place
ApplicationHeader, SignatureData               gone: ApplicationHeaderField, Signature stand in their place
ObservableReference                            gone: ``uid-ref`` stands in its place
SystemImpact … IntendedImpact                  items of one list ``Impact``
Nameservers                                    ``NameServers``
text for people (MLString)                     a string; an object, when it has a language or a translation-id, or a
                                               language other than English is in force, which a bare string denies
AdditionalData and the like, ``dtype="xml"``   ``value`` is the XML as text; of any other type ``value`` is plain text
ds:Signature, ds:X509Data, ds:DigestMethod,    base64 of the element; understood are also a certificate in DER and
ds:CanonicalizationMethod                      the URI of an algorithm
ds:DigestValue                                 its own base64, without white space
sci:RawData of the type xml, string or file    base64 of the XML, the text or the octets
REAL                                           a number with the digits as written: ``10000.00``
Confidence without a number                    ``value`` 0, because the CDDL requires one
IndicatorReference in AlternativeIndicatorID   IndicatorID; ``euid-ref`` is then ``name/id``
NodeRole ``anonymization``                     ``anomyzation``
``dtype="ext-value" ext-dtype="json"``         ``json`` is understood too
``operator="ext-value"`` with ext-operator     ``ext-operator`` alone
=============================================  =====================================================================

Without a place in JSON, and therefore `Lossy`; with ``lossy=True`` it is left out but for what is said here:

- several Flow of one EventData or SignatureData of one EmailData: they become one;
- ``restriction`` of Record: it is moved to each RecordData that has none of its own;
- ``restriction`` of Weakness: the Weakness is left out, unless what is in force around it is as strict. So nothing
  is ever less restricted than it was (RFC 7970 §3.3.1), and what has a restriction that cannot stay goes as a whole;
- HashData with ``ext-scope``, the language of RelatedActivity/Description, attributes of other namespaces;
- XML in an extension of another type than xml: it becomes text; RawData of other types than those above: they become
  one of those; in AlternativeIndicatorID a reference of another form;
- Hash beside AdditionalData in a BulkObservableFormat: the first is kept;
- dates without time zone; identifiers beyond ASCII; impacts of 0 or less; numbers that are not finite or beyond REAL;
  nesting beyond `Limits`.

ERRATA of RFC 8727, where its section 3.1 (the table) and RFC 7970 win over the group choices of the CDDL, which would
shut out common documents: Node may have DomainData and Address together (at least one), DetectionPattern Description
and DetectionConfiguration (at least one), structured information RawData and Reference. SpecID is any string, because
the registry is open and the example of section 2.2.5 has one that the CDDL lacks.

Not information, and left out: comments, namespace prefixes and declarations, ``xsi:schemaLocation``, white space
around tokens and inside of base64.
"""

from __future__ import annotations

from typing import Any

from grid.iodef import v2
from grid.iodef.errors import MOST, Invalid, Problem
from grid.iodef.json.decode import Decoder
from grid.iodef.json.encode import Lossy, to_object
from grid.iodef.json.quick import satisfied
from grid.iodef.json.rules import broken
from grid.iodef.json.schema import problems as schema_problems
from grid.iodef.json.text import DEFAULT, WHAT, Limits, Parsed, faults, parse
from grid.iodef.json.writing import dumps

__all__ = ["Limits", "Lossy", "from_json", "from_object", "to_json", "to_object"]


def to_json(document: v2.Document, *, lossy: bool = False) -> str:
    """A document as the text of RFC 8727.

    :param lossy: leave out what JSON cannot carry, rather than refuse.
    :raises Lossy: JSON cannot carry something; each place is named.
    """
    return dumps(to_object(document, lossy=lossy))


def from_json(source: str | bytes, *, limits: Limits = DEFAULT) -> v2.Document:
    """The model of a document in JSON.

    :param source: bytes in UTF-8, or a text.
    :returns: a document that is also valid by RFC 7970: `grid.iodef.dump` makes valid XML of it.
    :raises Invalid: with everything that is wrong: what was found, what was expected; the place as a JSON pointer
        (RFC 6901), and its line.
    """
    parsed = parse(source, limits)
    document, found = _read(parsed.value, limits)
    if found or parsed.doubtful:
        raise Invalid(_placed(parsed, found), WHAT)
    assert document is not None  # noqa: S101 - nothing was wrong
    return document


def from_object(value: Any, *, limits: Limits = DEFAULT) -> v2.Document:
    """The same for plain values, as `json.loads` and others make them; lines are 0 then.

    :param value: of dict, list, str, int, float or `Decimal`, bool, None.
    :raises Invalid: with everything that is wrong.
    """
    document, found = _read(value, limits)
    if document is None or found:
        raise Invalid(_bounded(found), WHAT)
    return document


def _read(value: Any, limits: Limits) -> tuple[v2.Document | None, list[Problem]]:
    found = faults(value, limits)
    if not satisfied(value):
        try:
            found += schema_problems(value)
        except ValueError:  # a whole number of so many digits that Python does not write it; it has been told
            if not found:
                raise
    if found:
        return None, found
    decoder = Decoder()
    document = decoder.object(v2.Document, value, None)
    if decoder.problems:
        return None, decoder.problems
    return document, broken(document, value)


def _placed(parsed: Parsed, found: list[Problem]) -> list[Problem]:
    """The problems with their lines, in the order of the text."""
    scan = parsed.scan({problem.path for problem in found})
    placed = [Problem(scan.line(problem.path), problem.path, problem.message) for problem in found]
    return _bounded(sorted([*scan.problems, *placed], key=lambda problem: problem.line))


def _bounded(found: list[Problem]) -> list[Problem]:
    """At most `MOST` problems, and the word that there are more."""
    if len(found) <= MOST:
        return found
    return [*found[:MOST], Problem(0, "", f"there are more than these {MOST} problems; they are not told")]
