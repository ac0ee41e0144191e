"""Result sets in pages (XEP-0059)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from xml.etree.ElementTree import Element

from grid import ns
from grid.errors import bad_request, item_not_found
from grid.protocol.elements import LONGEST_NAME, attributes, element, number, quote, split, text, text_of

SET = f"{{{ns.RSM}}}set"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a result is wanted; everything, as it stands here.

    :ivar max: how many at most; 0 asks for the count alone (§2.7).
    :ivar after: the page that follows this one of the result's identifiers (§2.2).
    :ivar before: the page that precedes it (§2.3); empty for the last page (§2.5).
    :ivar index: the page that begins at this place, counted from 0 (§2.6).
    :ivar asked: whether there was a ``<set/>`` at all.
    """

    max: int | None = None
    after: str | None = None
    before: str | None = None
    index: int | None = None
    asked: bool = False


EVERYTHING = Page()


@dataclass(frozen=True, slots=True)
class Slice(Generic[T]):
    """A page of a result.

    :ivar set: the serialised ``<set/>`` that goes with it; empty when nobody asked and everything is there.
    :ivar count: of the whole result.
    """

    items: Sequence[T]
    set: str
    count: int


@dataclass(frozen=True, slots=True)
class PageInfo:
    """What a ``<set/>`` in an answer says.

    :ivar first: identifier of the first entry, or empty; `last` likewise.
    :ivar index: the first one's place in the whole result, counted from 0, or None.
    :ivar count: of the whole result, or None.
    """

    first: str = ""
    last: str = ""
    index: int | None = None
    count: int | None = None


def read_page(parent: Element) -> Page:
    """The request for a page among the children of `parent`.

    :raises Refusal: bad_request.
    """
    found = parent.find(SET)
    if found is None:
        return EVERYTHING
    values: dict[str, str] = {}
    for child in found:
        namespace, name = split(child.tag)
        if namespace != ns.RSM or name not in ("max", "after", "before", "index"):
            continue
        if name in values:
            raise bad_request(f"<set/> holds <{name}/> more than once.")
        empty = name == "before" and not len(child) and not (child.text or "").strip()
        values[name] = "" if empty else text_of(child)
    places = [name for name in ("after", "before", "index") if name in values]
    if len(places) > 1:
        raise bad_request(f"<set/> holds both <{places[0]}/> and <{places[1]}/>.")
    return Page(
        max=number(values["max"], "<max/>") if "max" in values else None,
        after=values.get("after"),
        before=values.get("before"),
        index=number(values["index"], "<index/>") if "index" in values else None,
        asked=True,
    )


def write_page(page: Page) -> str:
    """The ``<set/>`` of a request; empty when everything is wanted."""
    if not page.asked and page == EVERYTHING:
        return ""
    parts = [
        element(name, str(value))
        for name, value in (("max", page.max), ("after", page.after), ("index", page.index))
        if value is not None
    ]
    if page.before is not None:
        parts.append(element("before", page.before) if page.before else "<before/>")
    return f"<set xmlns='{ns.RSM}'>{''.join(parts)}</set>"


def take(items: Sequence[T], key: Callable[[T], str], page: Page, *, limit: int) -> Slice[T]:
    """Cut a page out of a result.

    :param items: all of it, in the order of `key`, whose values are all different. Since places are found by value,
        going on works also when the entry that a requester has last seen is gone.
    :param limit: no page has more entries.
    :raises Refusal: item_not_found; the identifier that the page should follow or precede cannot be one (§2.2).
    """
    count = len(items)
    most = min(limit, page.max) if page.max is not None else limit
    start, end = _bounds(items, key, page, most)
    part = items[start:end]
    if not page.asked and len(part) == count:
        return Slice(part, "", count)
    return Slice(part, write_set(part, key, start, count), count)


def _bounds(items: Sequence[T], key: Callable[[T], str], page: Page, most: int) -> tuple[int, int]:
    count = len(items)
    for identifier in (page.after, page.before):
        if identifier and len(identifier) > LONGEST_NAME:
            raise item_not_found()
    if page.before is not None:
        end = bisect_left(items, page.before, key=key) if page.before else count
        return max(0, end - most), end
    start = min(page.index or 0, count)
    if page.after is not None:
        start = bisect_right(items, page.after, key=key)
    return start, min(start + most, count)


def write_set(part: Sequence[T], key: Callable[[T], str], start: int, count: int) -> str:
    """The ``<set/>`` of an answer (§2.1).

    :param part: what the page holds.
    :param start: the place of its first entry in the whole result, counted from 0.
    :param count: of the whole result.
    """
    ends = ""
    if part:
        ends = f"<first{attributes(index=str(start))}>{text(key(part[0]))}</first>{element('last', key(part[-1]))}"
    return f"<set xmlns='{quote(ns.RSM)}'>{ends}<count>{count}</count></set>"


def read_set(parent: Element) -> PageInfo | None:
    """What the ``<set/>`` of an answer says; None when there is none.

    :raises Refusal: bad_request.
    """
    found = parent.find(SET)
    if found is None:
        return None
    first = found.find(f"{{{ns.RSM}}}first")
    index = first.get("index") if first is not None else None
    count = found.findtext(f"{{{ns.RSM}}}count")
    return PageInfo(
        first=(first.text or "") if first is not None else "",
        last=found.findtext(f"{{{ns.RSM}}}last") or "",
        index=number(index, "index") if index is not None else None,
        count=number(count, "<count/>") if count is not None else None,
    )
