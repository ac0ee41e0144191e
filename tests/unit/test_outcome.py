"""What answers mean: shapes that were seen from devices and from both servers."""

from xml.etree import ElementTree as ET

import pytest

from component.base import ns
from component.base.connreq import Credentials, serialise
from component.base.correlate import Answer
from component.gate.outcome import Outcome, classify

ECHO = serialise(Credentials("u", "p"))
UNAVAILABLE = f"<service-unavailable xmlns='{ns.STANZAS}'/>"
TEXT = f"<text xmlns='{ns.STANZAS}'>User session not found</text>"


def answer(content: str, kind: str = "error") -> ET.Element:
    return ET.fromstring(f"<iq xmlns='{ns.COMPONENT}' type='{kind}'>{content}</iq>")


@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        (f"{ECHO}<error type='cancel'><not-authorized xmlns='{ns.STANZAS}'/></error>", Outcome.NOT_AUTHORIZED),
        (f"{ECHO}<error type='cancel'><not-autorized xmlns='{ns.STANZAS}'/></error>", Outcome.NOT_AUTHORIZED),
        ("<error type='auth'><not-autorized/></error>", Outcome.NOT_AUTHORIZED),
        (f"{ECHO}<error code='503' type='cancel'>{UNAVAILABLE}</error>", Outcome.REFUSED),
        (f"<error code='503' type='cancel'>{UNAVAILABLE}</error>", Outcome.REFUSED),
        (f"{ECHO}<error type='cancel'>{UNAVAILABLE}</error>", Outcome.REFUSED),
        (f"<error type='cancel'>{UNAVAILABLE}</error>", Outcome.OFFLINE),
        (f"{ECHO}<error type='cancel'>{UNAVAILABLE}{TEXT}</error>", Outcome.OFFLINE),
        (f"<error type='wait'><recipient-unavailable xmlns='{ns.STANZAS}'/></error>", Outcome.OFFLINE),
        (f"<error type='cancel'><remote-server-not-found xmlns='{ns.STANZAS}'/></error>", Outcome.OFFLINE),
        (f"{ECHO}<error type='modify'><bad-request xmlns='{ns.STANZAS}'/></error>", Outcome.REFUSED),
        ("", Outcome.REFUSED),
        ("<error/>", Outcome.REFUSED),
    ],
)
def test_errors(content: str, outcome: Outcome) -> None:
    assert classify(answer(content))[0] is outcome


@pytest.mark.parametrize(
    ("content", "connected", "outcome"),
    [
        (f"<error type='cancel'>{UNAVAILABLE}</error>", True, Outcome.REFUSED),
        (f"{ECHO}<error type='cancel'>{UNAVAILABLE}</error>", False, Outcome.OFFLINE),
        (f"{ECHO}<error type='cancel'>{UNAVAILABLE}{TEXT}</error>", True, Outcome.OFFLINE),
        (f"<error code='503' type='cancel'>{UNAVAILABLE}</error>", False, Outcome.REFUSED),
    ],
)
def test_what_is_known_of_the_session_settles_doubtful_cases(content: str, connected: bool, outcome: Outcome) -> None:
    assert classify(answer(content), connected)[0] is outcome


def test_a_result_is_accepted_whatever_it_carries() -> None:
    assert classify(answer("<x/>", "result"))[0] is Outcome.ACCEPTED


def test_silence() -> None:
    assert classify(Answer.TIMEOUT)[0] is Outcome.TIMEOUT
