"""The book of a host's sessions: certificates, and what cannot be."""

from __future__ import annotations

from xml.etree.ElementTree import fromstring

import pytest

from component.base.clientsessions import ClientSession, SessionBook
from component.base.jid import prepare
from component.gate.sessions import Sessions
from tests.unit.pluginkit import HOST, POLICY


class Told(Sessions):
    """A sink that remembers what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.sessions: list[ClientSession] = []

    def up(self, host: str, session: ClientSession) -> None:
        self.sessions.append(session)


def test_certificates_are_read_and_what_cannot_be_is_ignored() -> None:
    sink = Told()
    book = SessionBook(HOST, sink)
    book.take(fromstring(f"<sessions {POLICY} seq='0'/>"))
    good = "a" * 64
    chain = "<certificateChain><certificate>QUJD</certificate><certificate>REVG</certificate></certificateChain>"
    for number, (fingerprint, since, jid, more) in enumerate(
        [
            (good, "5", "soc1@cpe.test/r", chain),
            ("A" * 64, "5", "soc2@cpe.test/r", ""),
            (good, "nan", "soc3@cpe.test/r", ""),
            (good, "5", "soc4@elsewhere.test/r", ""),
            (good, "5", "", ""),
            (good, "5", "soc5@cpe.test/r", "<certificateChain><certificate>?</certificate></certificateChain>"),
            ("", "6", "soc6@cpe.test/r", ""),
        ],
        start=1,
    ):
        event = (
            f"<session {POLICY} sid='s{number}' seq='{number}' jid='{jid}' event='up' mechanism='EXTERNAL'"
            f" since='{since}' fingerprint='{fingerprint}'>{more}</session>"
        )
        book.take(fromstring(event))
    assert book.complete
    first = ClientSession("s1", prepare("soc1@cpe.test/r"), 5.0, "EXTERNAL", good, (b"ABC", b"DEF"))
    assert sink.sessions == [first, ClientSession("s7", prepare("soc6@cpe.test/r"), 6.0, "EXTERNAL")]
    book.compare(7, 7)
    assert book.complete  # those that could not be read are there all the same


def test_what_is_neither_up_nor_down_is_no_session() -> None:
    sink = Told()
    book = SessionBook(HOST, sink)
    book.take(fromstring(f"<sessions {POLICY} seq='0'/>"))
    book.take(fromstring(f"<session {POLICY} sid='s1' seq='1' jid='cpe1@cpe.test/r' event='maybe' since='5'/>"))
    assert sink.sessions == [] and book.complete


@pytest.mark.parametrize("seq", [None, "", "-1", "1.5", "\u0661", "x"])
def test_an_event_without_a_number_changes_nothing(seq: str | None) -> None:
    sink = Told()
    book = SessionBook(HOST, sink)
    book.take(fromstring(f"<sessions {POLICY} seq='0'/>"))
    event = fromstring(f"<session {POLICY} sid='s1' jid='cpe1@cpe.test/r' event='up' since='5'/>")
    if seq is not None:
        event.set("seq", seq)
    book.take(event)
    book.compare(0, 0)
    assert sink.sessions == [] and book.complete
