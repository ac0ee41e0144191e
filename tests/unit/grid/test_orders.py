"""What an in-server plugin is told, so that it knows everything in the end whatever it has missed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from xml.etree import ElementTree as ET

from component.base.store import Store, metadata
from grid.dataplane.host import BATCH, CERTIFICATES, LARGEST, Change, Orders, lost_order, node_order, revoked_order
from grid.epochs import FLOOR, Epochs, epoch_table
from grid.losses import Losses, losses_table

P = "{urn:stanzagate:policy:1}"


def orders(changes: list[Change], last: int) -> Orders:
    return Orders(lambda: last, lambda: last, (lambda epoch: [change for change in changes if change[0] > epoch],))


def applied(found: list[tuple[int, str]]) -> tuple[int, list[str]]:
    """What a plugin knows after these: its epoch, and the names in order."""
    epoch = 0
    names: list[str] = []
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


def test_an_order_names_the_certificates_that_a_node_is_bound_to() -> None:
    def named(*fingerprints: str) -> list[str | None]:
        element = ET.fromstring(node_order("a@g", "active", 3, fingerprints)[1])
        assert (element.get("jid"), element.get("state"), element.get("epoch")) == ("a@g", "active", "3")
        assert all(child.tag == f"{P}certificate" for child in element)
        return [child.get("fingerprint") for child in element]

    assert named() == []
    assert named("aa", "bb") == ["aa", "bb"]
    many = [f"{number:064x}" for number in range(CERTIFICATES + 3)]
    assert named(*many) == many[3:]


def test_a_batch_ends_before_a_stanza_grows_too_large() -> None:
    prints = [f"{number:064x}" for number in range(CERTIFICATES)]
    found = list(orders([node_order(f"n{i}@g", "active", i, prints) for i in range(1, 6)], 9).since(0))
    assert [number for number, _ in found] == [2, 4, 9]
    assert max(len(payload) for _, payload in found) < LARGEST + 200
    assert len(applied(found)[1]) == 5


def test_a_plugin_that_knows_a_database_that_is_gone_forgets_everything_and_hears_all_in_one_stanza() -> None:
    known = orders([node_order("a@g", "active", 2)], 3)
    ((number, payload),) = known.since(8, anew=True)
    assert (number, ET.fromstring(payload).get("reset")) == (3, "true")
    assert applied([(number, payload)]) == (3, ["a@g"])
    assert applied(list(orders([], 0).since(8, anew=True))) == (0, [])


def test_nothing_is_said_to_be_known_that_a_change_may_still_come_before() -> None:
    """Change 4 is on disk, but memory does not have it yet; 5 is there already."""
    changes = [node_order("c@g", "active", 3), node_order("e@g", "active", 5)]
    known = Orders(lambda: 5, lambda: 3, (lambda epoch: [change for change in changes if change[0] > epoch],))
    assert applied(list(known.since(2))) == (3, ["c@g", "e@g"])
    changes.append(node_order("d@g", "disabled", 4))
    late = Orders(lambda: 5, lambda: 5, (lambda epoch: [change for change in changes if change[0] > epoch],))
    assert applied(list(late.since(3))) == (5, ["d@g", "e@g"])


async def test_the_number_waits_for_memory(tmp_path: Path) -> None:
    store = Store("sqlite:///x.db", tmp_path)
    store.write_now(lambda connection: metadata.create_all(connection, [epoch_table, losses_table]))
    epochs = Epochs(store)
    await epochs.load()
    first = await store.write(epochs.next)
    second = await store.write(epochs.next)
    assert (epochs.current, epochs.settled) == (second, first - 1)
    epochs.applied(second)
    assert epochs.settled == first - 1
    epochs.applied(first)
    assert epochs.settled == second
    losses = Losses(store, epochs)
    await losses.load()
    await asyncio.gather(*(losses.note(f"n{number}@g", "T", regained=False) for number in range(5)))
    assert epochs.settled == epochs.current == second + 5
    await epochs.mark(FLOOR, 3)
    again = Epochs(store)
    await again.load()
    assert (again.current, again.marks) == (epochs.current, {FLOOR: 3})
    store.close()


def test_names_cannot_break_out() -> None:
    for _, text in (node_order("a'<b@g", "active", 1), lost_order("a@g", "x'/><node", 1, regained=True)):
        assert len(list(ET.fromstring(text))) == 0
    lost = ET.fromstring(lost_order("a@g", "x'/><node", 1, regained=True)[1])
    assert (lost.get("node"), lost.get("regained")) == ("x'/><node", "true")
