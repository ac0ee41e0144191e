"""Honeytokens: which accesses raise an alert."""

import pytest

from grid.alerts import Alert, AlertKind
from grid.honey import Honey, Touch
from grid.model import Topic

DECOY = Topic("Decoy-1.0", "Decoy", honeytoken=True)
REAL = Topic("IODEF-1.0", "IODEF")


@pytest.fixture
def alerts() -> list[Alert]:
    return []


@pytest.mark.parametrize("touch", [touch for touch in Touch if touch is not Touch.DISCOVER])
@pytest.mark.parametrize("permitted", [True, False])
def test_every_access_to_a_honeytoken_topic(alerts: list[Alert], touch: Touch, permitted: bool) -> None:
    assert Honey(alerts.append).touched("soc1@grid.test", touch, DECOY, permitted=permitted)
    (alert,) = alerts
    assert (alert.kind, alert.subject) == (AlertKind.HONEYTOKEN, "soc1@grid.test")
    assert alert.detail == {"topic": "Decoy-1.0", "access": str(touch), "permitted": permitted}
    assert ("refused" in alert.text) is not permitted


def test_finding_one_raises_no_alert(alerts: list[Alert]) -> None:
    honey = Honey(alerts.append, {"Decoy-1.0": ["x"]})
    assert not honey.touched("soc1@grid.test", Touch.DISCOVER, DECOY, ["x"])
    assert alerts == []


def test_ordinary_topics_raise_no_alert(alerts: list[Alert]) -> None:
    honey = Honey(alerts.append)
    assert not any(honey.touched("soc1@grid.test", touch, REAL, ["x"]) for touch in Touch)


def test_an_item_that_is_asked_for_by_its_id(alerts: list[Alert]) -> None:
    honey = Honey(alerts.append, {"IODEF-1.0": ["secret-17", "secret-18"], "Other-1.0": ["a"]})
    assert not honey.touched("soc1@grid.test", Touch.READ, REAL)  # all items
    assert not honey.touched("soc1@grid.test", Touch.READ, REAL, ["a", "b"])
    assert honey.touched("soc1@grid.test", Touch.READ, REAL, iter(["b", "secret-18", "secret-17"]))
    (alert,) = alerts
    assert alert.detail["items"] == "secret-17 secret-18"
    assert "the item secret-17 of IODEF-1.0" in alert.text


def test_items_may_change(alerts: list[Alert]) -> None:
    tokens: dict[str, list[str]] = {}
    honey = Honey(alerts.append, lambda: tokens)
    assert not honey.touched("soc1@grid.test", Touch.READ, REAL, ["a"])
    tokens = {"IODEF-1.0": ["a"]}
    assert honey.touched("soc1@grid.test", Touch.READ, REAL, ["a"])
