"""Token buckets."""

from component.base.limits import Buckets
from component.base.settings import UNLIMITED, parse_rate


def test_a_burst_then_the_rate() -> None:
    buckets = Buckets(parse_rate("4/min"))
    assert [buckets.take("d", 0.0) for _ in range(5)] == [True] * 4 + [False]
    assert not buckets.take("d", 14.9)
    assert buckets.take("d", 15.1)
    assert not buckets.take("d", 15.2)


def test_keys_do_not_share_a_bucket() -> None:
    buckets = Buckets(parse_rate("1/s"))
    assert buckets.take("a", 0.0)
    assert buckets.take("b", 0.0)
    assert not buckets.take("a", 0.5)


def test_asking_while_empty_does_not_delay_the_next_token() -> None:
    buckets = Buckets(parse_rate("1/s"))
    assert buckets.take("a", 0.0)
    assert [buckets.take("a", tick / 10) for tick in range(1, 10)] == [False] * 9
    assert buckets.take("a", 1.0)


def test_unlimited_keeps_nothing() -> None:
    buckets = Buckets(UNLIMITED)
    assert all(buckets.take(str(n), 0.0) for n in range(1000))
    assert len(buckets) == 0


def test_a_flood_of_keys_is_bounded() -> None:
    buckets = Buckets(parse_rate("1/s"), keys=10)
    for n in range(1000):
        buckets.take(str(n), 0.0)
    assert len(buckets) == 10
