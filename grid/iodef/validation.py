"""Whether a document is a valid incident: its schema, and the rules that a schema cannot say.

libxml2 is asked first whether it fits the subset in which no rule can be broken; most do, and that is all. What does
not is looked at in full, schema and rules, and what libxml2 says is put into our words, with a path that a person can
follow. Large documents take another way, so that none of them costs minutes.
"""

from __future__ import annotations

import threading
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from lxml import etree

from grid.iodef import demands, rules, wording
from grid.iodef.errors import MOST, Invalid, Problem, path_of
from grid.iodef.names import V1, V2, XSI, clark, split
from grid.iodef.parsing import DEFAULT, SAFELY, Limits, parse, refuse_early
from grid.iodef.subset import narrow
from grid.iodef.tangles import tangled, untangled
from grid.iodef.tightening import tighten

VERSIONS = {clark("IODEF-Document", V2): "2.00", clark("IODEF-Document", V1): "1.00"}
"""The roots that are known, and the version attribute that each has (RFC 7970 §3.1, RFC 5070 §3.1)."""

_NAMESPACES = {name: split(name)[0] for name in VERSIONS}
_FILES = {V2: "iodef-2.0.xsd", V1: "iodef-1.0.xsd"}
_TOP = Path(__file__).parents[2]
_FOLDERS = (_TOP / "stanzagate" / "_data" / "schemas", _TOP / "schemas")

_LARGE = 128 * 1024
"""Bytes from which on a document is validated while it is parsed once more, in pieces: see `_enough`."""

_TYPICAL = 16
"""Bytes of a small element with its tags."""

_INDICATORS = f"{{{V2}}}IndicatorData"
_COUNT = etree.XPath("count(descendant-or-self::*)")
_PIECE = 64 * 1024
_SMALL_PIECE = 4 * 1024
_XSI_TYPE = f"{{{XSI}}}type"
_local = threading.local()


def schema_file(name: str) -> Path:
    """Where one of our schemas is: in the installed package or in a checkout.

    :param name: of the file, for example ``iodef-2.0.xsd``.
    """
    return next((folder / name for folder in _FOLDERS if (folder / name).is_file()), _FOLDERS[-1] / name)


@dataclass(frozen=True)
class Schemas:
    """The compiled schemas of a version.

    :ivar subset: whatever fits is valid, rules included (`grid.iodef.subset`).
    :ivar full: the published schema with what `grid.iodef.tightening` adds.
    """

    subset: etree.XMLSchema
    full: etree.XMLSchema


def schemas(namespace: str) -> Schemas:
    """The schemas of a version, by its namespace; they take some milliseconds, once in each thread.

    A schema object of lxml keeps the messages of its last run, so threads cannot share one.
    """
    compiled: dict[str, Schemas] | None = getattr(_local, "schemas", None)
    if compiled is None:
        compiled = _local.schemas = {}
    found = compiled.get(namespace)
    if found is None:
        tree = etree.parse(schema_file(_FILES[namespace]))
        tighten(tree.getroot())
        full = etree.XMLSchema(tree)
        narrow(tree.getroot())
        found = compiled[namespace] = Schemas(etree.XMLSchema(tree), full)
    return found


def check(source: bytes, *, limits: Limits = DEFAULT) -> etree._ElementTree:
    """Parse and validate at once: the fast way for whoever receives a document.

    :returns: the tree of a document that is valid.
    :raises Invalid: with everything that is wrong.
    """
    if len(source) < _LARGE:
        tree = parse(source, limits=limits)
        problems = validate(tree, source=source)
    else:
        tree, problems = _check_large(source, limits)
    if problems:
        raise Invalid(problems)
    return tree


def _check_large(source: bytes, limits: Limits) -> tuple[etree._ElementTree, list[Problem]]:
    """The same for a document that is parsed and validated in one; see `_enough` for the reason."""
    refuse_early(source, limits)
    if not tangled(source):
        known = schemas(V1 if V1.encode() in source[:2000] else V2)
        for compiled in (known.subset, known.full):
            tree = _judged(source, compiled)
            if tree is not None and not _repeated(tree.getroot(), source):
                root = tree.getroot()
                namespace = _NAMESPACES[str(root.tag)]
                return tree, [] if compiled is known.subset else _in_order(rules.problems(root, namespace))
    tree = parse(source, limits=limits)
    return tree, validate(tree, source=source)


def _judged(source: bytes, compiled: etree.XMLSchema) -> etree._ElementTree | None:
    """A document that fits a schema; None when it does not, or cannot be parsed."""
    parser = etree.XMLParser(schema=compiled, **SAFELY)
    try:
        for start in range(0, len(source), _PIECE):
            parser.feed(source[start : start + _PIECE])
            if len(parser.feed_error_log):
                return None
        root = parser.close()
    except etree.XMLSyntaxError:
        return None
    if root is None or len(parser.feed_error_log):  # an entity, or something after the end: no error is raised
        return None
    tree: etree._ElementTree = root.getroottree()
    sound = root.tag in VERSIONS and tree.docinfo.internalDTD is None and _ends_well(source, root)
    return tree if sound else None


def _ends_well(source: bytes, root: etree._Element) -> bool:
    """Whether nothing but comments follows the root: half a tag at the end is no error for a parser that is fed.

    It says no, too, when the end of the root cannot be told from what looks like it.
    """
    end = f"</{root.prefix}:IODEF-Document" if root.prefix else "</IODEF-Document"
    _, found, rest = source.partition(end.encode())
    if not found or end.encode() in rest:
        return False
    try:
        etree.fromstring(b"<end" + rest.replace(b">", b"/>", 1), etree.XMLParser(**SAFELY))
    except etree.XMLSyntaxError:
        return False
    return True


def _repeated(root: etree._Element, source: bytes) -> bool:
    """Whether an identifier is there twice: what neither the subset nor a parse with validation looks after."""
    if b"\0" not in source[:4] and b"observable-id" not in source and b"IndicatorID" not in source:
        return False
    return any(demands.distinct(root, attributes=True))


def validate(tree: etree._ElementTree, *, source: bytes | None = None) -> list[Problem]:
    """Everything that is wrong with a document, in its order; nothing when it is valid.

    :param tree: from `grid.iodef.parse`.
    :param source: what it was parsed from; a large document need not be written anew then.
    """
    root = tree.getroot()
    namespace = _NAMESPACES.get(root.tag)  # type: ignore[arg-type]  # a str
    return [_unknown_root(root)] if namespace is None else _problems(root, namespace, source)


def validate_element(root: etree._Element, *, source: bytes | None = None) -> list[Problem]:
    """The same for any class of IODEF that stands at the root of its tree, an Incident for example."""
    namespace = split(str(root.tag))[0]
    if namespace not in _FILES:
        return [Problem(root.sourceline or 0, path_of(root), f"{wording.element(root)} is not a class of IODEF")]
    return _problems(root, namespace, source)


def _problems(root: etree._Element, namespace: str, source: bytes | None) -> list[Problem]:
    if _is_small(root, source):
        if schemas(namespace).subset.validate(root):
            listed = next(root.iter(_INDICATORS), None)
            if listed is None or not any(demands.distinct(root)):
                return []
    elif len(repeated := list(islice(demands.distinct(root, attributes=True), MOST + 1))) > MOST:
        # libxml2 would tell all of them, each with a path for which it counts siblings
        return _in_order(rules.told(repeated))
    found = rules.problems(root, namespace)
    log = _refused(root, namespace, source)
    if log:
        found = [*(wording.problems(log, root) or [_unexplained(root)]), *found]
    return _in_order(found)


def _in_order(found: list[Problem]) -> list[Problem]:
    """Problems by line, `MOST` of them and a word on the others."""
    if len(found) > 1:
        found.sort(key=lambda problem: problem.line)
    if len(found) > MOST:
        found[MOST:] = [Problem(0, "", f"there are more than these {MOST} problems; they are not told")]
    return found


def _is_small(root: etree._Element, source: bytes | None, bound: int = _LARGE) -> bool:
    return (len(source) if source is not None else _COUNT(root) * _TYPICAL) < bound


def _refused(root: etree._Element, namespace: str, source: bytes | None) -> list[Any]:
    """What the schema has against a document: entries of lxml's log."""
    compiled = schemas(namespace).full
    log = _log(root, compiled, source)
    if log and any(map(wording.others_type, log)):
        # libxml2 did not look inside those elements: have it look again, without what stopped it
        plain = deepcopy(root)
        for element in plain.iter(etree.Element):
            if not wording.of_iodef(str(element.tag)):
                element.attrib.pop(_XSI_TYPE, None)
        log = _log(plain, compiled, None)
    return log


def _log(root: etree._Element, compiled: etree.XMLSchema, source: bytes | None) -> list[Any]:
    if not _is_small(root, source, _LARGE // 8):  # this one has something wrong, or needs a look in full
        text = source or etree.tostring(root)
        if tangled(text):
            text = untangled(root)
        enough = _enough(text, compiled)
        if enough < len(text):
            root = etree.fromstring(text[:enough], etree.XMLParser(recover=True, **SAFELY))
    return [] if compiled.validate(root) else list(compiled.error_log)


def _enough(source: bytes, compiled: etree.XMLSchema, piece: int = _PIECE) -> int:
    """After how many bytes there is enough to complain about; its length when there is little or nothing.

    The document is parsed once more, in pieces, and validated meanwhile. Asked about a whole tree, libxml2 would tell
    everything, each with a path for which it counts siblings: minutes and gigabytes for a few megabytes that are
    wrong on purpose.
    """
    parser = etree.XMLParser(schema=compiled, **SAFELY)
    for start in range(0, len(source), piece):
        parser.feed(source[start : start + piece])
        if len(parser.feed_error_log) > MOST * 3:  # a problem may be told in several
            return start + piece if piece == _SMALL_PIECE else _enough(source, compiled, _SMALL_PIECE)
    return len(source)


def _unexplained(root: etree._Element) -> Problem:
    """What is said when libxml2 refuses a document without telling why."""
    return Problem(root.sourceline or 0, path_of(root), "the document does not fit the schema")


def _unknown_root(root: etree._Element) -> Problem:
    expected = " or ".join(f"IODEF-Document in the namespace {split(name)[0]}" for name in VERSIONS)
    return Problem(root.sourceline or 0, path_of(root), f"found {wording.element(root)}; expected {expected}")
