"""IODEF 2.0 between XML and JSON (RFC 8727), without losing anything unless that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from component.base.errors import InputError
from grid import iodef
from grid.iodef import Invalid, Problem, v2
from grid.iodef.json import Lossy, from_json, to_json
from grid.iodef.places import Places
from stanzagate.cli.iodef_source import Form, form_of


def converted(content: bytes, to: Form | None, *, lossy: bool) -> tuple[bytes, Sequence[Problem]]:
    """A document in another form, and what that form cannot say.

    :param content: a document in XML or JSON.
    :param to: the form wanted; by default the one that it does not have.
    :param lossy: whether something may be left out.
    :raises InputError: it is not valid, or not of IODEF 2.0, or something would be lost.
    """
    form = form_of(content)
    document = iodef.load(content) if form is Form.XML else from_json(content)
    if to is Form.XML or (to is None and form is Form.JSON):
        return iodef.dump(document) + b"\n", ()
    if not isinstance(document, v2.Document):
        raise InputError(
            "It is IODEF 1.0 (RFC 5070), which has no JSON form: RFC 8727 is for IODEF 2.0 only.",
            hint="It can be validated and shown as it is.",
        )
    try:
        return to_json(document).encode(), ()
    except Lossy as error:
        lost = _with_lines(error.problems, content) if form is Form.XML else error.problems
        if lossy:
            return to_json(document, lossy=True).encode(), lost
        told = Invalid(lost, error.message)
        raise InputError(told.message, hint="Give --lossy to convert the rest.", details=told.details) from None


def _with_lines(problems: Sequence[Problem], content: bytes) -> list[Problem]:
    """The same problems, with the lines of the XML; the model, where they were found, has none."""
    places = Places()
    lines = {places.path(each): each.sourceline or 0 for each in iodef.parse(content).getroot().iter("*")}
    return [replace(each, line=lines.get(each.path.partition("/@")[0], each.line)) for each in problems]
