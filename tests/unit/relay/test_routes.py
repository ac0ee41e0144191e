"""Routes: one stream for each pair, the first wins, and a stream that goes takes only its own along."""

from __future__ import annotations

from dataclasses import dataclass

from component.relay.wire.pairs import Pair, Routes

A, B, C = Pair("isp.test", "a.test"), Pair("isp.test", "b.test"), Pair("cpe.test", "a.test")


@dataclass
class Stream:
    """Equal to every other one, so that only identity tells streams apart."""


def test_a_pair_without_a_stream_leads_nowhere() -> None:
    routes: Routes[Stream] = Routes()
    assert routes.get(A) is None and A not in routes and len(routes) == 0
    assert routes.remove_stream(Stream()) == []


def test_an_existing_route_wins() -> None:
    routes: Routes[Stream] = Routes()
    first, second = Stream(), Stream()
    assert routes.add(A, first)
    assert not routes.add(A, second)
    assert routes.get(A) is first
    assert routes.add(A, first)  # it is its route already


def test_both_directions_of_two_domains_are_one_pair_and_others_are_not() -> None:
    routes: Routes[Stream] = Routes()
    routes.add(A, Stream())
    assert Pair("isp.test", "a.test") in routes
    assert Pair("a.test", "isp.test") not in routes and C not in routes and B not in routes


def test_a_stream_that_ends_takes_only_its_own_routes_along() -> None:
    routes: Routes[Stream] = Routes()
    old, new = Stream(), Stream()
    routes.add(A, old)
    routes.add(B, old)
    routes.add(C, new)
    assert routes.remove(A, old)
    routes.add(A, new)  # the partner has connected again while the old stream lives
    assert routes.remove_stream(old) == [B]
    assert routes.get(A) is new and routes.get(C) is new
    assert routes.pairs_of(new) == [C, A]
    assert routes.remove_stream(old) == []


def test_a_route_is_ended_by_its_stream_only() -> None:
    routes: Routes[Stream] = Routes()
    stream = Stream()
    routes.add(A, stream)
    assert not routes.remove(A, Stream()) and not routes.remove(B, stream)
    assert routes.remove(A, stream) and not routes.remove(A, stream)
    assert routes.get(A) is None


def test_routes_may_change_while_they_are_looked_through() -> None:
    routes: Routes[Stream] = Routes()
    stream = Stream()
    for pair in (A, B, C):
        routes.add(pair, stream)
    for pair in routes:
        routes.remove(pair, stream)
    assert list(routes.items()) == []


def test_a_pair_reads_well() -> None:
    assert str(A) == "isp.test ⇄ a.test"
