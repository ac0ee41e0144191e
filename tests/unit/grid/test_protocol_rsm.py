"""Result sets (XEP-0059)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grid import ns
from grid.errors import Refusal
from grid.protocol.rsm import EVERYTHING, Page, PageInfo, read_page, read_set, take, write_page
from tests.unit.grid.protocolkit import iq

TEN = [f"t{number}" for number in range(10)]


def same(name: str) -> str:
    return name


def told(text: str) -> PageInfo | None:
    return read_set(iq(text))


@pytest.mark.parametrize(
    ("page", "items", "info"),
    [
        (Page(max=3, asked=True), TEN[:3], PageInfo("t0", "t2", 0, 10)),
        (Page(asked=True), TEN[:5], PageInfo("t0", "t4", 0, 10)),
        (Page(max=100, asked=True), TEN[:5], PageInfo("t0", "t4", 0, 10)),
        (Page(max=3, after="t2", asked=True), TEN[3:6], PageInfo("t3", "t5", 3, 10)),
        (Page(max=3, after="t2x", asked=True), TEN[3:6], PageInfo("t3", "t5", 3, 10)),
        (Page(max=3, after="t8", asked=True), TEN[9:], PageInfo("t9", "t9", 9, 10)),
        (Page(max=3, after="t9", asked=True), [], PageInfo(count=10)),
        (Page(max=3, before="t5", asked=True), TEN[2:5], PageInfo("t2", "t4", 2, 10)),
        (Page(max=3, before="t1", asked=True), TEN[:1], PageInfo("t0", "t0", 0, 10)),
        (Page(max=3, before="", asked=True), TEN[7:], PageInfo("t7", "t9", 7, 10)),
        (Page(max=3, before="a", asked=True), [], PageInfo(count=10)),
        (Page(max=3, index=8, asked=True), TEN[8:], PageInfo("t8", "t9", 8, 10)),
        (Page(max=3, index=10, asked=True), [], PageInfo(count=10)),
        (Page(max=0, asked=True), [], PageInfo(count=10)),
    ],
)
def test_pages(page: Page, items: list[str], info: PageInfo) -> None:
    part = take(TEN, same, page, limit=5)
    assert list(part.items) == items and part.count == 10
    assert told(part.set) == info


def test_without_a_set_everything_is_given_without_a_set() -> None:
    part = take(TEN, same, EVERYTHING, limit=10)
    assert list(part.items) == TEN and part.set == ""
    assert take([], same, EVERYTHING, limit=10).set == ""


def test_a_result_that_is_too_large_says_so_unasked() -> None:
    part = take(TEN, same, EVERYTHING, limit=4)
    assert told(part.set) == PageInfo("t0", "t3", 0, 10)


def test_an_identifier_that_cannot_be_one() -> None:
    for page in (Page(after="x" * 2000, asked=True), Page(before="x" * 2000, asked=True)):
        with pytest.raises(Refusal) as refused:
            take(TEN, same, page, limit=5)
        assert refused.value.condition == "item-not-found"


@given(st.lists(st.text("abc&<'", min_size=1, max_size=5), unique=True), st.integers(1, 5), st.booleans(), st.data())
def test_paging_gives_everything_once_even_when_entries_go(
    names: list[str], size: int, back: bool, data: st.DataObject
) -> None:
    """Whoever pages to and fro sees everything that was there all the time exactly once."""
    items = sorted(names)
    gone: set[str] = set()
    seen: list[str] = []
    page = Page(max=size, before="" if back else None, asked=True)
    for _ in range(2 * len(items) + 2):
        present = [name for name in items if name not in gone]
        part = take(present, same, page, limit=3)
        info = told(part.set)
        assert info is not None and info.count == len(present)
        if not part.items:
            break
        assert (info.first, info.last) == (part.items[0], part.items[-1])
        seen += reversed(part.items) if back else part.items
        page = Page(max=size, before=info.first, asked=True) if back else Page(max=size, after=info.last, asked=True)
        if data.draw(st.booleans()):
            gone.add(data.draw(st.sampled_from(items)))
    assert len(seen) == len(set(seen))
    assert set(items) - gone <= set(seen)


@pytest.mark.parametrize(
    "content",
    ["<max>-1</max>", "<max/>", "<max>1e3</max>", "<max>9999999999</max>", "<index>x</index>", "<after/>",
     "<max>1</max><max>1</max>", "<after>a</after><before>b</before>", "<before/><index>1</index>",
     "<max><a/></max>", f"<after>{'x' * 1024}</after>", "<max>\uff11</max>"],
)  # fmt: skip
def test_malformed(content: str) -> None:
    with pytest.raises(Refusal) as refused:
        read_page(iq(f"<set xmlns='{ns.RSM}'>{content}</set>"))
    assert refused.value.condition == "bad-request"


def test_reading_and_writing() -> None:
    assert read_page(iq("")) == EVERYTHING
    assert read_page(iq(f"<set xmlns='{ns.RSM}'><x xmlns='urn:x'/><before> </before></set>")) == Page(
        before="", asked=True
    )
    assert write_page(EVERYTHING) == ""
    for page in (Page(max=0, after="<", asked=True), Page(before="", asked=True), Page(index=3, asked=True)):
        assert read_page(iq(write_page(page))) == page
    assert read_set(iq("")) is None
