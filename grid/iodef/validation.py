"""Whether a tree is a valid incident document: its schema first, then the rules that a schema cannot say.

libxml2 decides; what it says is put into our words, with a path that a person can follow. Only a document that is not
valid costs that second look.
"""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path

from lxml import etree

from grid.iodef import rules, wording
from grid.iodef.errors import Invalid, Problem, path_of
from grid.iodef.names import V1, V2, clark, split
from grid.iodef.parsing import DEFAULT, Limits, parse
from grid.iodef.tightening import tighten

VERSIONS = {clark("IODEF-Document", V2): "2.00", clark("IODEF-Document", V1): "1.00"}
"""The roots that are known, and the version attribute that each has (RFC 7970 §3.1, RFC 5070 §3.1)."""

_NAMESPACES = {name: split(name)[0] for name in VERSIONS}
_FILES = {V2: "iodef-2.0.xsd", V1: "iodef-1.0.xsd"}
_TOP = Path(__file__).parents[2]
_FOLDERS = (_TOP / "stanzagate" / "_data" / "schemas", _TOP / "schemas")

_explaining = threading.Lock()
"""A schema object of lxml keeps the messages of its last run: one thread at a time may ask for them."""


def schema_file(name: str) -> Path:
    """Where one of our schemas is: in the installed package or in a checkout.

    :param name: of the file, for example ``iodef-2.0.xsd``.
    """
    return next((folder / name for folder in _FOLDERS if (folder / name).is_file()), _FOLDERS[-1] / name)


@cache
def schema(namespace: str) -> etree.XMLSchema:
    """The compiled schema of a version, by its namespace. It takes some milliseconds once.

    It is the published one with what `grid.iodef.tightening` adds.
    """
    tree = etree.parse(schema_file(_FILES[namespace]))
    tighten(tree.getroot())
    return etree.XMLSchema(tree)


def check(source: bytes, *, limits: Limits = DEFAULT) -> etree._ElementTree:
    """Parse and validate at once: the fast way for whoever receives a document.

    :returns: the tree of a document that is valid.
    :raises Invalid: with everything that is wrong.
    """
    tree = parse(source, limits=limits)
    problems = validate(tree, source=source)
    if problems:
        raise Invalid(problems)
    return tree


def validate(tree: etree._ElementTree, *, source: bytes | None = None) -> list[Problem]:
    """Everything that is wrong with a document, in its order; nothing when it is valid.

    :param tree: from `grid.iodef.parse`.
    :param source: what it was parsed from; it spares the rules that cannot be broken by it.
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
    compiled = schema(namespace)
    problems = rules.problems(root, namespace, source)
    if not compiled.validate(root):
        problems = [*_explained(compiled, root), *problems]
    return sorted(problems, key=lambda problem: problem.line) if problems else []


def _explained(compiled: etree.XMLSchema, root: etree._Element) -> list[Problem]:
    with _explaining:
        compiled.validate(root)
        log = list(compiled.error_log)
    return wording.problems(log, root)


def _unknown_root(root: etree._Element) -> Problem:
    expected = " or ".join(f"IODEF-Document in the namespace {split(name)[0]}" for name in VERSIONS)
    return Problem(root.sourceline or 0, path_of(root), f"found {wording.element(root)}; expected {expected}")
