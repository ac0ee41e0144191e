"""The rate limit of nodes."""

from grid.alerts import Alert, AlertKind
from grid.limits import Limiter
from grid.settings import GridLimits


class Scene:
    def __init__(self, rate: str = "2/s", disable_after: int = 0, keys: int = 1000) -> None:
        self.now = 0.0
        self.alerts: list[Alert] = []
        self.overrun: list[str] = []
        limits = GridLimits.model_validate({"requests": rate, "disable_after": disable_after})
        self.limiter = Limiter(
            limits, lambda: self.now, alert=self.alerts.append, overrun=self.overrun.append, keys=keys
        )

    def spend(self, jid: str = "a@grid.test", times: int = 1) -> list[bool]:
        return [self.limiter.spend(jid) is None for _ in range(times)]


def test_a_node_is_refused_beyond_its_rate_and_the_others_are_not() -> None:
    scene = Scene()
    assert scene.spend(times=3) == [True, True, False]
    assert scene.spend("b@grid.test") == [True]
    refusal = scene.limiter.spend("a@grid.test")
    assert refusal is not None
    assert (refusal.kind, refusal.condition) == ("wait", "resource-constraint")
    scene.now = 0.5
    assert scene.spend(times=2) == [True, False]
    assert scene.limiter.refused == 3


def test_the_first_excess_of_a_minute_raises_an_alert() -> None:
    scene = Scene()
    scene.spend(times=100)
    (alert,) = scene.alerts
    assert (alert.kind, alert.subject, alert.detail) == (AlertKind.LIMIT, "a@grid.test", {"limit": "2/s"})
    scene.now = 60
    scene.spend(times=100)
    assert len(scene.alerts) == 2
    assert scene.overrun == []


def test_a_node_that_goes_on_is_told_of_once_a_minute() -> None:
    scene = Scene(disable_after=10)
    scene.spend(times=11)
    assert scene.overrun == []
    scene.spend(times=1)
    assert scene.overrun == ["a@grid.test"]
    scene.spend(times=50)
    assert scene.overrun == ["a@grid.test"]
    scene.now = 60
    scene.spend(times=50)  # it could not be disabled, and goes on
    assert scene.overrun == ["a@grid.test"] * 2


def test_a_little_excess_in_each_minute_is_borne() -> None:
    scene = Scene(disable_after=10)
    for minute in range(20):
        scene.now = minute * 60.0
        scene.spend(times=11)
    assert scene.overrun == []


def test_a_node_that_is_enabled_begins_anew() -> None:
    scene = Scene(rate="10/min", disable_after=10)
    scene.spend(times=30)
    assert scene.overrun == ["a@grid.test"]
    scene.limiter.forget("a@grid.test")
    assert scene.spend(times=11) == [True] * 10 + [False]
    assert scene.overrun == ["a@grid.test"]
    scene.spend(times=9)
    assert scene.overrun == ["a@grid.test"] * 2
    scene.limiter.forget("nobody@grid.test")


def test_a_flood_of_names_takes_no_memory() -> None:
    scene = Scene(rate="1/min", disable_after=3, keys=10)
    for number in range(1000):
        scene.spend(f"n{number}@grid.test", times=2)
    assert len(scene.limiter._excess) == 10
    assert len(scene.limiter._buckets) == 10


def test_without_a_limit_nothing_is_kept() -> None:
    scene = Scene(rate="unlimited", disable_after=1)
    assert all(scene.spend(times=1000))
    assert len(scene.limiter._buckets) == 0
