"""IODEF 1.0 to 2.0: what XEP-0268 carries, as what topics of IODEF carry (RFC 7970 §1.4, §4.4).

Version 2.0 can say nearly all that 1.0 says, but much of it elsewhere. What cannot stay what it was is told as a
`Problem` of the source:

============================ =========================================================================================
in 1.0                       in 2.0
============================ =========================================================================================
ReportTime                   ReportTime, and GenerationTime, which 2.0 demands: when the content was made
Impact                       SystemImpact, its text a Description. Only the types ``policy`` and ``unknown`` are still
                             there: others are extended values, and IncidentCategory names them, too (§4.4)
Reference/ReferenceName      a Description: 2.0 wants a number in IANA's registry there (RFC 7495)
Counter/@type                @unit; @type is ``count``, with a duration ``average``
Fax                          Telephone of type ``fax``
@meaning of addresses        a Description
Node/NodeName                DomainData/Name, of whose status nothing is known; its language is lost
Node/DateTime                DomainData/DateDomainWasChecked; lost where there is no NodeName
Node/NodeRole                System/NodeRole, its text a Description
Address/@category            ``ipv6-net-mask`` is an extended value
Address/@vlan-num            lost when it is no number
Service/ProtoFlags           ProtoField
several Applications         one, whose Descriptions and URLs are those of all
software in attributes       a Description; software of which nothing is said is left out
RecordPattern/@offsetunit    ``binary`` is ``byte``
============================ =========================================================================================

The result is validated. What cannot be said in 2.0 at all (a protocol above 255; several sources of one Flow that
list ports) is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from grid.iodef import codec, v1, v2
from grid.iodef.errors import Invalid, Problem
from grid.iodef.fields import Class, Item, Part, fields_of
from grid.iodef.names import XMLNS, local
from grid.iodef.types import DateTime, Language
from grid.iodef.validation import validate_element

DEEPEST: Final = 40
"""Contacts and events in each other."""

_WHAT: Final = "This incident of IODEF 1.0 cannot be said in IODEF 2.0."
_NUMBER: Final = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_DEFAULT_NAMESPACE: Final = f"{{{XMLNS}}}xmlns"
_KEPT_TYPES: Final = frozenset({"policy", "unknown", "ext-value"})


@dataclass(frozen=True, slots=True)
class Upgraded:
    """A document of version 2.0.

    :ivar losses: what of the source it does not say.
    :ivar moves: what it says otherwise than by the same name.
    """

    document: v2.Document
    losses: tuple[Problem, ...]
    moves: tuple[Problem, ...]


def upgrade(incident: v1.Incident, *, generated: DateTime | None = None, lang: Language | None = None) -> Upgraded:
    """The document of version 2.0 that says what an incident of version 1.0 says.

    :param generated: when the content was made; without it, when the incident was reported.
    :param lang: the language of texts that name none.
    :raises Invalid: it cannot be said in version 2.0; with the places in what would be the document.
    """
    converter = _Converter()
    made = converter.incident(incident, "/Incident", generated or incident.report_time)
    document = v2.Document(version="2.00", lang=lang, incident=(made,))
    problems = validate_element(codec.write(document))
    if problems:
        raise Invalid(problems, _WHAT)
    return Upgraded(document, tuple(converter.losses), tuple(converter.moves))


class _Converter:
    """One conversion; paths are those of the source."""

    def __init__(self) -> None:
        self.losses: list[Problem] = []
        self.moves: list[Problem] = []
        self._depth = 0

    def lost(self, path: str, message: str) -> None:
        self.losses.append(Problem(0, path, message))

    def moved(self, path: str, message: str) -> None:
        self.moves.append(Problem(0, path, message))

    # What is the same in both

    def convert(self, source: Class, path: str) -> Any:
        """The counterpart of an instance; None when nothing of it remains."""
        special = _SPECIAL.get(type(source))
        return special(self, source, path) if special is not None else self.same(source, path)

    def same(self, source: Class, path: str, **given: Any) -> Any:
        """The class of the same name, with all that has the same name in both, and with what is `given`."""
        self._depth += 1
        if self._depth > DEEPEST:
            raise Invalid([Problem(0, path[:200], f"elements are nested more than {DEEPEST} deep")], _WHAT)
        target: Any = getattr(v2, type(source).__name__)
        named = {item.python: item for item in _items(type(source))}
        values = {
            item.python: self.value(getattr(source, item.python), named[item.python], item, path)
            for item in _items(target)
            if item.python in named and item.python not in given
        }
        self._depth -= 1
        return target(foreign=_foreign(source), **values, **given)

    def value(self, value: Any, source: Item, target: Item, path: str) -> Any:
        """What a field of the source gives for one of the target, which may hold several where the source had one."""
        if source.part is not Part.CHILD:
            return value
        several = value if source.many else () if value is None else (value,)
        if not any(isinstance(each, Class) for each in several):
            return several if target.many else value
        here = f"{path}/{local(source.name)}"
        paths = [f"{here}[{number}]" for number in range(1, len(several) + 1)] if len(several) > 1 else [here]
        made = [self.convert(each, place) for each, place in zip(several, paths, strict=True)]
        found = tuple(each for each in made if each is not None)
        if target.many:
            return found
        return found[0] if found else None

    # What is not

    def incident(self, source: v1.Incident, path: str, generated: DateTime) -> v2.Incident:
        made: v2.Incident = self.same(source, path, generation_time=generated)
        return made

    def software(self, source: v1.Software, path: str) -> v2.Software | None:
        words = " ".join(
            part for part in (source.vendor, source.family, source.name, source.version, source.patch) if part
        )
        numbers = [
            f"{name} {value}" for name, value in (("swid", source.swid), ("configid", source.configid)) if value
        ]
        text = f"{words} ({', '.join(numbers)})".strip() if numbers else words
        if not text and source.url is None:
            return None
        if text:
            self.moved(path, "the attributes are a Description")
        description = (v2.MLString(value=text),) if text else ()
        return v2.Software(url=(source.url,) if source.url is not None else (), description=description)

    def reference(self, source: v1.Reference, path: str) -> v2.Reference:
        self.moved(f"{path}/ReferenceName", "it is a Description")
        named = self.convert(source.reference_name, path)
        more = tuple(self.convert(each, path) for each in source.description)
        return v2.Reference(url=source.url, description=(named, *more), foreign=_foreign(source))

    def impact(self, source: v1.Impact, path: str) -> v2.SystemImpact:
        known = source.type in _KEPT_TYPES
        if not known:
            self.moved(f"{path}/@type", f"{source.type} is an extended value, and an IncidentCategory")
        text = v2.MLString(value=source.value, lang=source.lang)
        return v2.SystemImpact(
            severity=source.severity,
            completion=source.completion,
            type=source.type if known else "ext-value",  # type: ignore[arg-type]  # what both have
            ext_type=source.ext_type if known else source.type,
            description=(text,) if source.value.strip() else (),
            foreign=_foreign(source),
        )

    def assessment(self, source: v1.Assessment, path: str) -> v2.Assessment:
        impacts = self.value(
            source.impact, _named(v1.Assessment, "impact"), _named(v2.Assessment, "system_impact"), path
        )
        types = dict.fromkeys(each.type for each in source.impact if each.type not in _KEPT_TYPES)
        order = tuple("SystemImpact" if name == "Impact" else name for name in source.order)
        made: v2.Assessment = self.same(
            source, path, order=order, system_impact=impacts,
            incident_category=tuple(v2.MLString(value=each) for each in types),
        )  # fmt: skip
        return made

    def counter(self, source: v1.Counter, path: str) -> v2.Counter:
        made: v2.Counter = self.same(
            source, path, type="average" if source.duration is not None else "count", ext_type=None,
            unit=source.type, ext_unit=source.ext_type,
        )  # fmt: skip
        return made

    def contact(self, source: v1.Contact, path: str) -> v2.Contact:
        phones = [self.convert(each, f"{path}/Telephone") for each in source.telephone]
        if source.fax is not None:
            self.moved(f"{path}/Fax", "it is a Telephone")
            phones.append(self.phone(source.fax, f"{path}/Fax", kind="fax"))
        made: v2.Contact = self.same(source, path, telephone=tuple(phones))
        return made

    def postal_address(self, source: v1.PostalAddress, path: str) -> v2.PostalAddress:
        address = v2.MLString(value=source.value, lang=source.lang)
        return v2.PostalAddress(p_address=address, description=self.meaning(source.meaning, path))

    def email(self, source: v1.Email, path: str) -> v2.Email:
        return v2.Email(email_to=source.value, description=self.meaning(source.meaning, path))

    def phone(self, source: v1.Phone, path: str, kind: Any = None) -> v2.Telephone:
        description = self.meaning(source.meaning, path)
        return v2.Telephone(type=kind, telephone_number=source.value, description=description)

    def meaning(self, text: str | None, path: str) -> tuple[v2.MLString, ...]:
        if not text:
            return ()
        self.moved(f"{path}/@meaning", "it is a Description")
        return (v2.MLString(value=text),)

    def address(self, source: v1.Address, path: str) -> v2.Address:
        given: dict[str, Any] = {"vlan_num": None}
        number = (source.vlan_num or "").strip()
        if _NUMBER.fullmatch(number):
            given["vlan_num"] = int(number)
        elif number:
            self.lost(f"{path}/@vlan-num", "it is no number")
        if source.category == "ipv6-net-mask":
            self.moved(f"{path}/@category", "ipv6-net-mask is an extended value")
            given |= {"category": "ext-value", "ext_category": "ipv6-net-mask"}
        made: v2.Address = self.same(source, path, **given)
        return made

    def node(self, source: v1.Node, path: str) -> v2.Node:
        names = [each for each in source.node_name if each.value.strip()]
        if len(names) < len(source.node_name):
            self.lost(f"{path}/NodeName", "it is empty")
        if any(each.lang for each in names):
            self.lost(f"{path}/NodeName/@lang", "a domain name has no language")
        if source.date_time is not None and not names:
            self.lost(f"{path}/DateTime", "there is no NodeName that was resolved then")
        if names:
            self.moved(f"{path}/NodeName", "it is DomainData")
        domains = tuple(
            v2.DomainData(
                system_status="unknown", domain_status="unknown", name=each.value,
                date_domain_was_checked=source.date_time,
            )
            for each in names
        )  # fmt: skip
        made: v2.Node = self.same(source, path, domain_data=domains)
        return made

    def node_role(self, source: v1.NodeRole, path: str) -> v2.NodeRole:
        text = v2.MLString(value=source.value, lang=source.lang)
        made: v2.NodeRole = self.same(source, path, description=(text,) if source.value.strip() else ())
        return made

    def system(self, source: v1.System, path: str) -> v2.System:
        roles = _named(v1.Node, "node_role")
        node_role = self.value(source.node.node_role, roles, _named(v2.System, "node_role"), f"{path}/Node")
        if node_role:
            self.moved(f"{path}/Node/NodeRole", "it is of the System")
        made: v2.System = self.same(source, path, node_role=node_role)
        return made

    def service(self, source: v1.Service, path: str) -> v2.Service:
        item = _named(v1.Service, "application")
        found = self.value(source.application, item, _named(v2.System, "operating_system"), path)
        if len(found) > 1:
            self.moved(f"{path}/Application", f"the {len(found)} of them are one")
        application = None
        if found:
            application = v2.Software(
                url=tuple(url for each in found for url in each.url),
                description=tuple(text for each in found for text in each.description),
            )
        if source.proto_flags is not None:
            self.moved(f"{path}/ProtoFlags", "it is a ProtoField")
        made: v2.Service = self.same(source, path, application=application, proto_field=source.proto_flags)
        return made

    def pattern(self, source: v1.RecordPattern, path: str) -> v2.RecordPattern:
        unit = "byte" if source.offsetunit == "binary" else source.offsetunit
        made: v2.RecordPattern = self.same(source, path, offsetunit=unit)
        return made


_SPECIAL: Final[dict[type[Class], Callable[[_Converter, Any, str], Any]]] = {
    v1.Software: _Converter.software,
    v1.Reference: _Converter.reference,
    v1.Impact: _Converter.impact,
    v1.Assessment: _Converter.assessment,
    v1.Counter: _Converter.counter,
    v1.Contact: _Converter.contact,
    v1.PostalAddress: _Converter.postal_address,
    v1.Email: _Converter.email,
    v1.Phone: _Converter.phone,
    v1.Address: _Converter.address,
    v1.Node: _Converter.node,
    v1.NodeRole: _Converter.node_role,
    v1.System: _Converter.system,
    v1.Service: _Converter.service,
    v1.RecordPattern: _Converter.pattern,
}


def _items(declared: type[Class]) -> tuple[Item, ...]:
    shape = fields_of(declared)
    return (*shape.attributes, *shape.children, *((shape.content,) if shape.content is not None else ()))


def _named(declared: type[Class], python: str) -> Item:
    return next(item for item in _items(declared) if item.python == python)


def _foreign(source: Class) -> tuple[tuple[str, str], ...]:
    """The attributes of other namespaces; not the declaration of a default one, which is that of version 1.0."""
    return tuple(pair for pair in source.foreign if pair[0] != _DEFAULT_NAMESPACE)
