"""What an in-server plugin is told, so that it knows everything in the end whatever it has missed."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from grid.dataplane.host import BATCH, Change, Orders, lost_order, node_order, revoked_order

P = "{urn:stanzagate:policy:1}"


def orders(changes: list[Change], last: int) -> Orders:
    return Orders(lambda: last, (lambda epoch: [change for change in changes if change[0] > epoch],))


def applied(found: list[tuple[int, str]]) -> tuple[int, list[str]]:
    """What a plugin knows after these: its epoch, and the names in order."""
    epoch, names = 0, []
    for number, payload in found:
        element = ET.fromstring(payload)
        if element.get("reset"):
            names.clear()
        names += [child.get("jid") or child.get("fingerprint") or "" for child in element]
        epoch = int(element.get("epoch", ""))
        assert epoch == number
    return epoch, names


def test_only_what_is_newer_is_told_and_in_order() -> None:
    known = orders([node_order("b@g", "active", 3), node_order("a@g", "active", 2), revoked_order("f", 5)], 5)
    assert applied(list(known.since(2))) == (5, ["b@g", "f"])
    assert list(known.since(5)) == []


def test_a_change_that_is_no_order_still_moves_the_number() -> None:
    assert applied(list(orders([], 9).since(4))) == (9, [])


def test_many_changes_go_in_batches_each_with_the_number_it_reaches() -> None:
    many = [node_order(f"n{i}@g", "active", i) for i in range(1, 2 * BATCH + 2)]
    found = list(orders(many, 1000).since(0))
    assert [number for number, _ in found] == [BATCH, 2 * BATCH, 1000]
    assert len(applied(found)[1]) == 2 * BATCH + 1


def test_a_plugin_that_knows_a_database_that_is_gone_forgets_everything() -> None:
    known = orders([node_order("a@g", "active", 2)], 3)
    assert applied(list(known.since(8))) == (3, ["a@g"])


def test_names_cannot_break_out() -> None:
    for _, text in (node_order("a'<b@g", "active", 1), lost_order("a@g", "x'/><node", 1, regained=True)):
        assert len(list(ET.fromstring(text))) == 0
    lost = ET.fromstring(lost_order("a@g", "x'/><node", 1, regained=True)[1])
    assert (lost.get("node"), lost.get("regained")) == ("x'/><node", "true")
