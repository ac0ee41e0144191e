"""Whether what is published fits its topic: IODEF by its own rules, everything else by the schema of the topic.

Schemas come from administrators (``topic add --schema``) and are known by their SHA-256: XML Schema for XML, JSON
Schema for JSON. Nothing is ever read from elsewhere: a schema that refers to another file is refused, as are DTDs and
entities. Nodes embed this, too: it needs no database.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import jsonschema
from jsonschema.exceptions import SchemaError
from jsonschema.validators import validator_for
from lxml import etree
from referencing import Registry
from referencing.exceptions import Unresolvable

from component.base.errors import InputError
from grid import iodef, ns
from grid.errors import Refusal, bad_request
from grid.iodef import Invalid, Problem
from grid.iodef.errors import path_of
from grid.iodef.json import text as jsontext
from grid.iodef.json.places import pointer
from grid.iodef.names import split
from grid.model import Payload, Topic
from grid.protocol.elements import serialise

IODEF = frozenset({iodef.V1, iodef.V2})
"""The namespaces whose documents are checked by `grid.iodef`."""

SCHEMA_SIZE = 512 * 1024
"""Bytes of a schema."""

PAYLOAD_SIZE = 1024 * 1024
"""Bytes of an item's payload; servers take less."""

ELEMENTS = 50_000
"""Elements and attributes, or values of JSON, of a payload or a schema."""

TOLD = 300
"""Characters of a refusal's text."""

_XSD = "http://www.w3.org/2001/XMLSchema"
_REFERRING = frozenset({"include", "import", "redefine", "override"})
_JSON = f"{{{ns.JSON}}}json"
_XML_LIMITS = iodef.Limits(size=PAYLOAD_SIZE, elements=ELEMENTS)
_JSON_LIMITS = jsontext.Limits(size=PAYLOAD_SIZE, depth=64, values=ELEMENTS)


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema that is one.

    :ivar payload: what it is for.
    :ivar namespace: an XML Schema's target namespace; empty when it has none, and for JSON.
    """

    digest: str
    payload: Payload
    namespace: str
    source: bytes


class Schemas:
    """The schemas of a grid, by digest."""

    def __init__(self) -> None:
        self._known: dict[str, Schema] = {}
        self._local = threading.local()  # a compiled XML Schema keeps its last messages: threads cannot share it

    def add(self, source: bytes) -> str:
        """Take a schema; one that is known already is no error.

        :param source: XML Schema, or JSON Schema in JSON.
        :returns: its digest, SHA-256 in lower-case hex.
        :raises InputError: it is not a schema, or refers to another file; with line and reason.
        """
        found = inspected(source)
        self._known[found.digest] = found
        return found.digest

    def get(self, digest: str) -> Schema | None:
        """The schema of a digest."""
        return self._known.get(digest)

    def discard(self, digest: str) -> None:
        """Forget a schema that no topic uses."""
        self._known.pop(digest, None)

    def check(self, topic: Topic, payload: bytes | ElementTree.Element) -> None:
        """Check what somebody wants to publish.

        :param payload: the child of ``<item/>``, ``<json/>`` of XEP-0335 included; or a file's content, XML or JSON.
        :raises Refusal: bad-request; its text names line and reason. Lines are counted within the payload.
        """
        if topic.payload is Payload.TEXT:
            return
        try:
            if topic.payload is Payload.JSON:
                self._check_json(topic, _json_text(payload))
            else:
                self._check_xml(topic, payload if isinstance(payload, bytes) else serialise(payload).encode())
        except Invalid as error:
            raise _refusal(error.problems) from None

    def _check_xml(self, topic: Topic, source: bytes) -> None:
        if topic.type in IODEF:
            tree = iodef.check(source, limits=_XML_LIMITS)
        else:
            tree = iodef.parse(source, limits=_XML_LIMITS)
        root = tree.getroot()
        schema = self._schema(topic)
        expected = {topic.type, schema.namespace if schema else topic.type}
        found, name = split(str(root.tag))
        if topic.type and found not in expected:
            where = f"of the namespace {found}" if found else "without namespace"
            raise Invalid(
                [Problem(root.sourceline or 0, path_of(root), f"found {name} {where}; expected {topic.type}")]
            )
        if schema is not None:
            compiled = self._compiled(schema)
            if not compiled.validate(tree):
                raise Invalid([_of_entry(entry) for entry in compiled.error_log][:50])

    def _check_json(self, topic: Topic, text: str | bytes) -> None:
        if topic.type in IODEF:
            from grid.iodef.json import from_json  # noqa: PLC0415  some hundred classes, seldom needed

            from_json(text, limits=_JSON_LIMITS)
        parsed = jsontext.parse(text, _JSON_LIMITS)
        if parsed.doubtful:
            raise Invalid(parsed.scan(set()).problems or [Problem(0, "", "a number or a key is not valid JSON")])
        schema = self._schema(topic)
        if schema is None:
            return
        try:
            wrong = list(_json_problems(self._validator(schema), json.loads(parsed.text)))
        except (Unresolvable, RecursionError) as error:
            raise Invalid(
                [Problem(0, "", f"the topic's schema cannot be evaluated: {type(error).__name__}")]
            ) from None
        if wrong:
            lines = parsed.scan({problem.path for problem in wrong})
            raise Invalid([Problem(lines.line(each.path), each.path, each.message) for each in wrong])

    def _schema(self, topic: Topic) -> Schema | None:
        if not topic.schema:
            return None
        found = self._known.get(topic.schema)
        if found is None:  # fails closed: what cannot be checked is not published
            raise Invalid([Problem(0, "", f"the schema {topic.schema[:16]}… of the topic is not known here")])
        return found

    def _compiled(self, schema: Schema) -> etree.XMLSchema:
        cache: dict[str, etree.XMLSchema] = self._local.__dict__.setdefault("compiled", {})
        found = cache.get(schema.digest)
        if found is None:
            found = cache[schema.digest] = etree.XMLSchema(iodef.parse(schema.source))
        return found

    def _validator(self, schema: Schema) -> Any:
        cache: dict[str, Any] = self._local.__dict__.setdefault("validators", {})
        found = cache.get(schema.digest)
        if found is None:
            found = cache[schema.digest] = _json_validator(json.loads(schema.source))
        return found


def digest_of(source: bytes) -> str:
    """How a schema is known."""
    return hashlib.sha256(source).hexdigest()


def inspected(source: bytes) -> Schema:
    """A schema, when it is one.

    :raises InputError: it is none.
    """
    if len(source) > SCHEMA_SIZE:
        raise InputError(f"The schema has {len(source):,} bytes.", hint=f"At most {SCHEMA_SIZE:,} are taken.")
    try:
        if source.lstrip()[:1] == b"{":
            _inspect_json(source)
            return Schema(digest_of(source), Payload.JSON, "", source)
        return Schema(digest_of(source), Payload.XML, _inspect_xsd(source), source)
    except Invalid as error:
        lines = [str(problem) for problem in error.problems]
        raise InputError("This is not a schema.", hint=_HINT, details=lines) from None


_HINT = "A schema is XML Schema (XSD 1.0) for XML, or JSON Schema for JSON, in one file."


def _inspect_xsd(source: bytes) -> str:
    """The target namespace of an XML Schema."""
    tree = iodef.parse(source, limits=iodef.Limits(size=SCHEMA_SIZE, elements=ELEMENTS))
    root = tree.getroot()
    namespace, name = split(str(root.tag))
    if (namespace, name) != (_XSD, "schema"):
        raise Invalid([Problem(root.sourceline or 0, path_of(root), f"found {name}; expected schema of {_XSD}")])
    for element in root.iter(*(f"{{{_XSD}}}{each}" for each in _REFERRING)):
        if element.get("schemaLocation") is not None or not str(element.tag).endswith("}import"):
            message = "a schema must stand in one file; nothing else is read"
            raise Invalid([Problem(element.sourceline or 0, path_of(element), message)])
    try:
        etree.XMLSchema(tree)
    except etree.XMLSchemaParseError as error:
        problems = [_of_entry(entry) for entry in error.error_log]
        raise Invalid(problems[:20] or [Problem(0, "", str(error))]) from None
    if root.find(f"{{{_XSD}}}element") is None:
        raise Invalid(
            [Problem(root.sourceline or 0, path_of(root), "it declares no element that could be published")]
        )
    return root.get("targetNamespace", "")


def _inspect_json(source: bytes) -> None:
    parsed = jsontext.parse(source, jsontext.Limits(size=SCHEMA_SIZE, depth=64, values=ELEMENTS))
    value = json.loads(parsed.text)
    for path, reference in _references(value, ()):
        if not reference.startswith("#"):
            message = "a schema must stand in one file: references begin with '#'"
            raise Invalid([Problem(parsed.scan({pointer(path)}).line(pointer(path)), pointer(path), message)])
    try:
        validator = _json_validator(value)
        type(validator).check_schema(value)
        for path, reference in _references(value, ()):
            _resolved(validator, path, reference)
    except SchemaError as error:
        where = pointer(error.absolute_path)
        raise Invalid([Problem(parsed.scan({where}).line(where), where, _shortened(error.message))]) from None


def _resolved(validator: Any, path: Sequence[str | int], reference: str) -> None:
    try:
        validator._resolver.lookup(reference)
    except Unresolvable:
        raise Invalid([Problem(0, pointer(path), f"{_shortened(reference)} leads nowhere")]) from None


def _json_validator(value: Any) -> Any:
    # without a registry of its own, jsonschema would fetch what a schema refers to
    return validator_for(value, default=jsonschema.Draft202012Validator)(value, registry=Registry())


def _references(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, dict):
        for key, each in value.items():
            if key in ("$ref", "$dynamicRef", "$recursiveRef") and isinstance(each, str):
                yield (*path, key), each
            else:
                yield from _references(each, (*path, key))
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from _references(each, (*path, place))


def _json_problems(validator: Any, value: Any) -> Iterator[Problem]:
    for number, error in enumerate(validator.iter_errors(value)):
        if number >= iodef.errors.MOST:
            return
        yield Problem(0, pointer(error.absolute_path), _shortened(error.message))


def _json_text(payload: bytes | ElementTree.Element) -> str | bytes:
    if isinstance(payload, bytes):
        return payload
    if payload.tag != _JSON:
        raise Invalid([Problem(0, "", f"found {split(payload.tag)[1]}; expected json of {ns.JSON} (XEP-0335)")])
    if len(payload):
        raise Invalid([Problem(0, "", "found an element in json; expected text")])
    return payload.text or ""


def _of_entry(entry: Any) -> Problem:
    return Problem(entry.line, "", _shortened(entry.message.replace("\n", " ")))


def _shortened(text: str) -> str:
    return text if len(text) <= TOLD else f"{text[: TOLD - 1]}…"


def _refusal(problems: Sequence[Problem]) -> Refusal:
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return bad_request(f"{_shortened(str(problems[0]))}{more}")
