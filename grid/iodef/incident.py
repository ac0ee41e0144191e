"""XEP-0268, Incident Handling: what servers tell and ask each other about an incident, in an IQ stanza.

======== ======= ==================================================================== =========================
class    IQ type says                                                                 its answer
======== ======= ==================================================================== =========================
Report   set     what happened (or what is new, or that it is over)                   result
Inquiry  get     "what do you know about it?"                                         result; a Report follows
Request  get     "please help", for example ``Expectation(action="block-host")``      result
Response set     what was done, in ``History``                                        result
======== ======= ==================================================================== =========================

An answer of type result is empty; when the payload cannot be processed it is an error, which `refusal` gives. A
Report that an Inquiry asked for is an IQ of its own, never part of the result (XEP-0268 §4).

::

    payload = dump(Request(incident))                         # bytes, for the inside of the <iq/>
    match parse(received):
        case Request(incident): ...

Each holds an Incident of IODEF 1.0 without the document around it. What is written is always valid by RFC 5070. The
examples of XEP-0268 are not: what they do differently is mended on reading (`grid.iodef.mending`), unless asked not
to. An Inquiry may hold no more than an IncidentID, as in its example.

One must not act on these without a person, nor on those of strangers, unless configured to (XEP-0268 §9).
"""

from __future__ import annotations

import copy
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, TypeAlias, get_args

from lxml import etree

from component.base.errors import StanzaErrorInfo
from grid.iodef import codec, mending, plainxml, v1
from grid.iodef.errors import Invalid, Problem, path_of
from grid.iodef.names import V1, clark, local, split
from grid.iodef.parsing import DEFAULT, DEPTH, Limits
from grid.iodef.parsing import parse as parse_xml
from grid.iodef.types import DateTime
from grid.iodef.validation import validate_element
from grid.iodef.xmpp import wrong_jids

NAMESPACE: Final = "urn:xmpp:incident:2"

Status = Literal["new", "updated", "resolved"]


@dataclass(frozen=True, slots=True)
class Mention:
    """An incident of which only the number is told (XEP-0268 §4, the example)."""

    incident_id: v1.IncidentID
    purpose: str = "traceback"
    ext_purpose: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Tells of an incident, for information.

    :ivar status: XEP-0268 §2 says that a report flags it, but neither its schema nor its examples have a place for
        it. It is read and written as an attribute of ``<report/>``; leave it out for a peer that is strict.
    """

    incident: v1.Incident
    status: Status | None = None
    element: ClassVar[str] = "report"
    iq_type: ClassVar[str] = "set"


@dataclass(frozen=True, slots=True)
class Inquiry:
    """Asks for information about an incident; a `Report` is expected, after the result."""

    incident: v1.Incident | Mention
    element: ClassVar[str] = "inquiry"
    iq_type: ClassVar[str] = "get"


@dataclass(frozen=True, slots=True)
class Request:
    """Asks for help with an incident."""

    incident: v1.Incident
    element: ClassVar[str] = "request"
    iq_type: ClassVar[str] = "get"


@dataclass(frozen=True, slots=True)
class Response:
    """Tells what was done about an incident."""

    incident: v1.Incident
    element: ClassVar[str] = "response"
    iq_type: ClassVar[str] = "set"


Exchange: TypeAlias = Report | Inquiry | Request | Response
"""One of the four payloads."""

KINDS: Final[dict[str, type[Exchange]]] = {
    clark(kind.element, NAMESPACE): kind for kind in (Report, Inquiry, Request, Response)
}
"""The four by the Clark name of their element."""

_INCIDENT = clark("Incident", V1)
_INCIDENT_ID = clark("IncidentID", V1)


def parse(
    payload: bytes | etree._Element | ET.Element, *, strict: bool = False, limits: Limits = DEFAULT
) -> Exchange:
    """Read a payload.

    :param payload: the element inside the ``<iq/>``: as bytes, or as an element of lxml or of the standard library.
    :param strict: refuse what is not valid by RFC 5070, the examples of XEP-0268 included. A `Mention` is allowed.
    :raises Invalid: not one of the four, or not exactly one valid Incident inside.
    """
    root = parse_xml(_octets(payload), limits=limits).getroot()
    kind = KINDS.get(str(root.tag))
    if kind is None:
        raise Invalid([_problem(root, f"found {_shown(root)}; expected {_one_of(KINDS)}")], _UNKNOWN)
    problems = list(_wrong_shape(root, kind))
    if problems:
        raise Invalid(problems, _WHAT)
    status = root.get("status")
    incident = _incident(root[0], kind, strict)
    return Report(incident, status) if kind is Report else kind(incident)  # type: ignore[arg-type]


def dump(exchange: Exchange) -> bytes:
    """Write a payload, in UTF-8 and without XML declaration.

    :raises Invalid: its incident is not valid.
    """
    status = exchange.status if isinstance(exchange, Report) else None
    if status is not None and status not in get_args(Status):
        raise Invalid([Problem(0, f"/{exchange.element}/@status", _wrong_status(status))], _WHAT)
    inside = _mention(exchange.incident) if isinstance(exchange.incident, Mention) else codec.dump(exchange.incident)
    attributes = f' status="{status}"' if status is not None else ""
    payload = f'<{exchange.element} xmlns="{NAMESPACE}"{attributes}>'.encode() + inside
    payload += f"</{exchange.element}>".encode()
    parse(payload, strict=True)
    return payload


def write(exchange: Exchange) -> etree._Element:
    """Write a payload as an element; otherwise like `dump`."""
    return etree.fromstring(dump(exchange))


def refusal(error: Invalid) -> StanzaErrorInfo:
    """The stanza error for a payload that `parse` refused.

    XEP-0268 leaves errors to a future version; RFC 6120 §8.3.3.1 has the condition for a malformed payload, and
    §8.4 the one for a payload that is not known.
    """
    text = str(error.problems[0])[:_LONGEST_TEXT]
    if error.message == _UNKNOWN:
        return StanzaErrorInfo("cancel", "service-unavailable", text)
    return StanzaErrorInfo("modify", "bad-request", text)


LONGEST = 80
"""So many characters of what was found are told to who sent it."""

_LONGEST_TEXT = 500

_WHAT = "This is not a valid payload of XEP-0268."
_UNKNOWN = "This is not a payload of XEP-0268."


def _octets(payload: bytes | etree._Element | ET.Element) -> bytes:
    if isinstance(payload, bytes):
        return payload
    if isinstance(payload, etree._Element):
        return etree.tostring(payload, encoding="utf-8", with_tail=False)
    try:
        return bytes(ET.tostring(payload, encoding="utf-8", xml_declaration=False))
    except RecursionError:  # that library calls itself for each level
        raise Invalid([Problem(0, "", f"elements are nested more than {DEPTH} deep")], _WHAT) from None


def _wrong_shape(root: etree._Element, kind: type[Exchange]) -> Iterator[Problem]:
    """What is wrong with the wrapper."""
    for name, value in root.items():
        if kind is not Report or name != "status":
            if not split(str(name))[0]:
                yield _problem(root, f"found the attribute {str(name)[:LONGEST]}; expected none", str(name))
        elif value not in get_args(Status):
            yield _problem(root, _wrong_status(value), "status")
    texts = [root.text, *(part.tail for part in root)]
    if any(text and text.strip() for text in texts):
        yield _problem(root, "found text; expected one Incident and nothing else")
    if not len(root):
        yield _problem(root, f"found nothing; expected an Incident of the namespace {V1}")
    for part in root:
        if part.tag != _INCIDENT:
            yield _problem(part, f"found {_shown(part)}; expected an Incident of the namespace {V1}")
    if len(root) > 1 and all(part.tag == _INCIDENT for part in root):
        yield _problem(root[1], "found a second Incident; expected one")


def _wrong_status(value: str) -> str:
    return f"found {value[:LONGEST]!r}; expected one of: {', '.join(get_args(Status))}"


def _incident(element: etree._Element, kind: type[Exchange], strict: bool) -> Any:
    if kind is Inquiry and (mention := _mentioned(element)) is not None:
        return mention
    alone = copy.deepcopy(element)  # problems are told from the root of a tree
    problems = validate_element(alone)
    if problems and not strict:
        mended = mending.mended(alone)
        if not validate_element(mended):
            alone, problems = mended, []
    problems = problems or list(wrong_jids(alone))
    if problems:
        wrapper = f"/{kind.element}"
        raise Invalid([Problem(each.line, wrapper + each.path, each.message) for each in problems], _WHAT)
    # within a wrapper, because a root keeps the namespace declarations that the transport happened to choose
    wrapped = etree.fromstring(b"<wrapper>" + plainxml.text(alone).encode() + b"</wrapper>")
    return codec.read(v1.Incident, wrapped[0])


def _mentioned(element: etree._Element) -> Mention | None:
    """The number of an incident of which nothing else is told."""
    if len(element) != 1 or element[0].tag != _INCIDENT_ID or len(element[0]) or (element.text or "").strip():
        return None
    number = codec.read(v1.IncidentID, element[0])
    mention = Mention(number, element.get("purpose", "").strip(), element.get("ext-purpose"))
    if set(map(str, element.keys())) - {"purpose", "ext-purpose"} or validate_element(codec.write(_whole(mention))):
        return None
    return mention


def _whole(mention: Mention) -> v1.Incident:
    """An Incident that tells nothing more and has what every Incident must have."""
    return v1.Incident(
        purpose=mention.purpose,  # type: ignore[arg-type]  # validated after that
        ext_purpose=mention.ext_purpose,
        incident_id=mention.incident_id,
        report_time=_ANY_TIME,
        assessment=(v1.Assessment(impact=(v1.Impact(type="unknown"),)),),
        contact=(v1.Contact(role="irt", type="person", contact_name=v1.MLString(value="-")),),
    )


def _mention(mention: Mention) -> bytes:
    element = codec.write(_whole(mention))
    del element[1:]
    return etree.tostring(element, encoding="utf-8")


_ANY_TIME = DateTime("2000-01-01T00:00:00Z")


def _problem(element: etree._Element, message: str, attribute: str = "") -> Problem:
    return Problem(element.sourceline or 0, path_of(element, attribute), message)


def _shown(element: etree._Element) -> str:
    namespace, name = (part[:LONGEST] for part in split(str(element.tag)))
    return f"{name} of the namespace {namespace}" if namespace else f"{name} of no namespace"


def _one_of(names: Any) -> str:
    return f"one of {', '.join(local(name) for name in names)} of the namespace {NAMESPACE}"
