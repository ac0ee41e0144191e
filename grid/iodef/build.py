"""Incident documents in a few lines, for the common case.

::

    document = report(
        authority="csirt.example.org", id="2026-17", contact="soc@example.org",
        generated=datetime.now(timezone.utc), restriction="amber",
        description="Password guessing against our mail servers",
        severity="high", impact="takeover-account",
        sources=["192.0.2.7", "198.51.100.0/24", "2001:db8::1"], targets=["mail.example.org"], ports=[25, 587],
    )
    publish(iodef.dump(document))

`watch_list` is for indicators without an incident. What these have no argument for is added with
`dataclasses.replace`, or with the classes of `grid.iodef.v2` from the start. A document that is built is valid; the
time at which it is made is an argument, like everything else.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, get_args

from component.base.errors import InputError
from grid.iodef import arguments, v2
from grid.iodef.arguments import DOMAIN, Other, Ports
from grid.iodef.codec import write
from grid.iodef.errors import Invalid
from grid.iodef.names import XMLNS
from grid.iodef.types import ID, URL, DateTime, PortList
from grid.iodef.v2 import enums
from grid.iodef.validation import validate

__all__ = ["Other", "report", "watch_list"]

_DECLARED: Final = ((f"{{{XMLNS}}}xmlns", v2.NAMESPACE),)
"""So that the document equals what is read from what it is written to."""


def report(
    *,
    authority: str,
    id: str,
    contact: str | v2.Contact,
    generated: datetime,
    purpose: str = "reporting",
    restriction: str | None = None,
    status: str | None = None,
    description: str | Iterable[str] = (),
    severity: str | None = None,
    impact: str | None = None,
    category: str | Iterable[str] = (),
    method: str | Iterable[str] = (),
    sources: str | Iterable[object] = (),
    targets: str | Iterable[object] = (),
    ports: Ports | None = None,
    protocol: str | int = "tcp",
    action: str | None = None,
    started: datetime | None = None,
    ended: datetime | None = None,
    detected: datetime | None = None,
    indicators: str | Iterable[object] = (),
    lang: str = "en",
) -> v2.Document:
    """A document of one incident (RFC 7970 §3.2).

    Values of enumerations are those of the standard; `Other` marks one of your own.

    :param authority: domain name of the team that numbers the incident; `id` is the number.
    :param contact: e-mail address of that team, or a contact made otherwise.
    :param generated: when this content was made. Every time needs a time zone.
    :param restriction: how far it may be passed on; without it the standard says ``private``.
    :param impact: on systems (``takeover-account``) or on the business (``theft-financial``).
    :param category: what kind of incident it is, in free words.
    :param method: how it was done: a URL is a reference, any other text a description.
    :param sources: who attacked: addresses, networks, domain names, e-mail addresses, URLs; a system each.
    :param targets: who was attacked, likewise.
    :param ports: of the targets, of the protocol that `protocol` names: 25, ``"25,8000-8080"`` or
        ``[25, (8000, 8080)]``.
    :param action: what the recipient is asked to do, such as ``block-host``.
    :param indicators: what betrays the attack, in the forms of `sources`; one list for each kind.
    :raises InputError: an argument that cannot be used; the message begins with its name.
    """
    name = arguments.domain("authority", authority, qualified=True)
    number = arguments.text("id", id).strip()
    purpose_, ext_purpose = arguments.choice("purpose", purpose, get_args(enums.Purpose))
    restriction_, ext_restriction = _optional("restriction", restriction, enums.Restriction)
    status_, ext_status = _optional("status", status, enums.IncidentStatus)
    times = _times(started, ended, detected)
    incident = v2.Incident(
        purpose=purpose_,  # type: ignore[arg-type]  # choice() has seen to that, here and below
        ext_purpose=ext_purpose,
        status=status_,
        ext_status=ext_status,
        restriction=restriction_,
        ext_restriction=ext_restriction,
        incident_id=v2.IncidentID(name=name, value=number),
        detect_time=times.detected,
        start_time=times.started,
        end_time=times.ended,
        generation_time=arguments.moment("generated", generated),
        description=_words("description", description),
        assessment=_assessment(severity, impact, category),
        method=_methods(method),
        contact=(_contact(contact),),
        event_data=_events(sources, targets, _service(ports, protocol), action),
        indicator_data=_indicators(name, number, arguments.places("indicators", indicators), _Times()),
    )
    language = arguments.language("lang", lang)
    document = v2.Document(version="2.00", lang=language, incident=(incident,), foreign=_DECLARED)
    if isinstance(contact, v2.Contact):  # all else has been seen to
        _check_contact(document)
    return document


def watch_list(
    *,
    authority: str,
    id: str,
    contact: str | v2.Contact,
    generated: datetime,
    indicators: str | Iterable[object],
    restriction: str | None = None,
    description: str | Iterable[str] = (),
    valid_from: datetime | None = None,
    valid_until: datetime | None = None,
    lang: str = "en",
) -> v2.Document:
    """A document of what to watch for, without an incident of its own (RFC 7970 §3.28).

    Thousands of values cost one line each: they stand in one list for each kind (BulkObservable, §3.29.3.1). The
    arguments are those of `report`.

    :param valid_from: since when seeing one of them means something; `valid_until` likewise.
    :raises InputError: an argument that cannot be used; the message begins with its name.
    """
    found = arguments.places("indicators", indicators)
    if not found:
        raise InputError("indicators: the list is empty.", hint="A watch list names at least one thing to watch for.")
    document = report(
        authority=authority,
        id=id,
        contact=contact,
        generated=generated,
        purpose="watch",
        restriction=restriction,
        description=description,
        lang=lang,
    )
    valid = _times(valid_from, valid_until, None, names=("valid_from", "valid_until"))
    (incident,) = document.incident
    data = _indicators(incident.incident_id.name, incident.incident_id.value, found, valid)
    return replace(document, incident=(replace(incident, indicator_data=data),))


@dataclass(frozen=True)
class _Times:
    started: DateTime | None = None
    ended: DateTime | None = None
    detected: DateTime | None = None


def _times(
    started: datetime | None,
    ended: datetime | None,
    detected: datetime | None,
    names: tuple[str, str] = ("started", "ended"),
) -> _Times:
    times = _Times(
        started=None if started is None else arguments.moment(names[0], started),
        ended=None if ended is None else arguments.moment(names[1], ended),
        detected=None if detected is None else arguments.moment("detected", detected),
    )
    if started is not None and ended is not None and ended < started:
        raise InputError(f"{names[1]}: {times.ended} is before {names[0]}, which is {times.started}.")
    return times


def _optional(name: str, value: str | None, enumeration: Any) -> tuple[Any, str | None]:
    return (None, None) if value is None else arguments.choice(name, value, get_args(enumeration))


def _words(name: str, values: str | Iterable[str]) -> tuple[v2.MLString, ...]:
    return tuple(v2.MLString(value=value) for value in arguments.texts(name, values))


def _contact(contact: str | v2.Contact) -> v2.Contact:
    if isinstance(contact, v2.Contact):
        return contact
    mail = v2.Email(email_to=arguments.email("contact", contact))
    return v2.Contact(role="creator", type="organization", email=(mail,))


def _check_contact(document: v2.Document) -> None:
    try:
        problems = validate(write(document).getroottree())
    except Invalid as error:
        problems = list(error.problems)
    if problems:
        raise InputError(f"contact: {problems[0]}.", details=[str(problem) for problem in problems[1:]])


def _assessment(severity: str | None, impact: str | None, category: str | Iterable[str]) -> tuple[v2.Assessment, ...]:
    """One impact, on systems or on the business, whichever knows the value."""
    categories = _words("category", category)
    if severity is None and impact is None and not categories:
        return ()
    if impact in get_args(enums.BusinessImpactType) and impact not in get_args(enums.SystemImpactType):
        level, ext_level = _optional("severity", severity, enums.BusinessSeverity)
        effect = v2.BusinessImpact(type=impact, severity=level, ext_severity=ext_level)  # type: ignore[arg-type]
        return (v2.Assessment(incident_category=categories, business_impact=(effect,)),)
    kinds = (*get_args(enums.SystemImpactType), *get_args(enums.BusinessImpactType))
    kind, ext_kind = arguments.choice("impact", impact or "unknown", kinds)
    level, _ = _optional("severity", severity, enums.Severity)
    system = v2.SystemImpact(type=kind, ext_type=ext_kind, severity=level)  # type: ignore[arg-type]
    return (v2.Assessment(incident_category=categories, system_impact=(system,)),)


def _methods(values: str | Iterable[str]) -> tuple[v2.Method, ...]:
    known = arguments.texts("method", values)
    if not known:
        return ()
    references = tuple(v2.Reference(url=(URL(each.strip()),)) for each in known if arguments.is_url(each))
    words = tuple(v2.MLString(value=each) for each in known if not arguments.is_url(each))
    return (v2.Method(reference=references, description=words),)


def _events(
    sources: str | Iterable[object],
    targets: str | Iterable[object],
    service: v2.Service | None,
    action: str | None,
) -> tuple[v2.EventData, ...]:
    systems = [v2.System(category="source", node=_node(*each)) for each in arguments.places("sources", sources)]
    victims = arguments.places("targets", targets)
    if service is not None and not victims:
        raise InputError("ports: there are no targets that could have them.", hint="Name the targets as well.")
    services = (service,) if service is not None else ()
    systems += [v2.System(category="target", node=_node(*each), service=services) for each in victims]
    flows = (v2.Flow(system=tuple(systems)),) if systems else ()
    if action == "defined-coa":
        raise InputError("action: 'defined-coa' needs a DefinedCOA.", hint="Make the Expectation with grid.iodef.v2.")
    wish, ext_wish = _optional("action", action, enums.Action)
    wishes = (v2.Expectation(action=wish, ext_action=ext_wish),) if wish else ()
    return (v2.EventData(flow=flows, expectation=wishes),) if flows or wishes else ()


def _node(kind: str, value: str) -> v2.Node:
    if kind == DOMAIN:
        return v2.Node(domain_data=(v2.DomainData(system_status="unknown", domain_status="unknown", name=value),))
    return v2.Node(address=(v2.Address(category=kind, value=value),))  # type: ignore[arg-type]


def _service(ports: Ports | None, protocol: str | int) -> v2.Service | None:
    if ports is None:
        return None
    number = arguments.protocol(protocol)
    written = ",".join(str(first) if first == last else f"{first}-{last}" for first, last in arguments.ports(ports))
    if written.isdigit():
        return v2.Service(ip_protocol=number, port=int(written))
    return v2.Service(ip_protocol=number, portlist=PortList(written))


def _indicators(
    authority: str, number: str, places: tuple[tuple[str, str], ...], valid: _Times
) -> v2.IndicatorData | None:
    """One indicator for each kind, with all its values."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for kind, value in places:
        kinds[kind].append(value)
    if not kinds:
        return None
    indicators = (
        v2.Indicator(
            indicator_id=v2.IndicatorID(name=authority, version="1", value=_identifier(number, kind)),
            start_time=valid.started,
            end_time=valid.ended,
            observable=v2.Observable(
                bulk_observable=v2.BulkObservable(
                    type=kind,  # type: ignore[arg-type]  # every kind of place is one of BulkObservable/@type
                    bulk_observable_list="\n".join(values),
                )
            ),
        )
        for kind, values in kinds.items()
    )
    return v2.IndicatorData(indicator=tuple(indicators))


_PLAIN = re.compile(r"[A-Za-z0-9.-]", re.ASCII)


def _identifier(number: str, kind: str) -> ID:
    """An XML ID that no other incident of the authority has: other characters are written by their number."""
    escaped = "".join(each if _PLAIN.match(each) else f"_{ord(each):x}_" for each in number)
    return ID(f"indicator-{escaped}-{kind}")
