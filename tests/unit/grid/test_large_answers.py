"""What the controller writes is never larger than a server takes from a component."""

from __future__ import annotations

import asyncio
from typing import Any
from xml.etree.ElementTree import Element

import pytest

from component.base.jid import prepare
from component.base.link import LARGEST, Link, NoAnswer
from grid.broker import LARGEST_PAGE, _fitting, _page
from grid.entrance import LARGEST_ANSWER, Request
from grid.errors import Refusal
from grid.protocol.rsm import Page
from grid.protocol.xep0060.answers import ItemEntry


class Wire:
    """Takes what is sent."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def send(self, stanza: str) -> None:
        self.sent.append(stanza)


def entries(*sizes: int) -> list[ItemEntry]:
    return [ItemEntry(f"i{number}", "x" * size) for number, size in enumerate(sizes)]


def names(part: list[ItemEntry]) -> list[str]:
    return [entry.id for entry in part]


def test_a_page_of_items_ends_where_it_gets_too_large() -> None:
    part, said = _page(entries(150_000, 150_000, 150_000, 150_000), Page(), 100)
    assert names(part) == ["i0", "i1"]
    assert "<count>4</count>" in said
    assert "<last>i1</last>" in said


def test_the_last_items_are_those_at_the_end() -> None:
    part, said = _page(entries(150_000, 150_000, 150_000, 150_000), Page(asked=True, before=""), 100)
    assert names(part) == ["i2", "i3"]
    assert "index='2'" in said


def test_one_item_that_is_too_large_is_not_hidden() -> None:
    assert names(_fitting(entries(LARGEST_PAGE + 1, 1), from_end=False)) == ["i0"]


def test_small_items_stay_together() -> None:
    part, said = _page(entries(10, 10), Page(), 100)
    assert (names(part), said) == (["i0", "i1"], "")


@pytest.mark.parametrize("text", ["x" * (LARGEST_ANSWER + 1), "ä" * (LARGEST_ANSWER // 2 + 1)])
def test_an_answer_that_is_too_large_is_refused(text: str) -> None:
    wire: Any = Wire()
    iq = Element("{jabber:component:accept}iq", {"from": "a@b/c", "to": "d", "id": "1", "type": "get"})
    request = Request(wire, iq, iq, prepare("a@b/c"), broker=False)
    with pytest.raises(Refusal) as refused:
        request.answer(text)
    assert (refused.value.kind, refused.value.condition) == ("wait", "resource-constraint")
    assert wire.sent == []


async def test_a_link_never_writes_what_would_end_its_stream() -> None:
    async def spawned(_name: str, work: Any) -> None:
        work.close()

    link = Link("c.test", "secret", "127.0.0.1", 1, on_stanza=lambda _stanza: True, spawn=spawned)
    link.send(f"<message>{'x' * LARGEST}</message>")
    assert (link.queued, link.counters.too_large) == (0, 1)
    link.attached.set()
    with pytest.raises(NoAnswer):
        async with asyncio.timeout(5):
            await link.iq("b.test", f"<a>{'x' * LARGEST}</a>", timeout=4)
