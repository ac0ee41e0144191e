"""Both examples of XEP-0288 (version 0.5), with us as the connecting server C and as the receiving server S.

Errata of the examples, mended here:

* the stream id repeats after SASL; RFC 6120 §4.7.3 wants a fresh one on every restart;
* ``<mechanism>EXTERNAL<mechanism>`` is not well-formed;
* the caption of an example stands between two stanzas of the second one ("Stream Setup before TLS").

What we add to the examples: STARTTLS is required, dialback is announced with its errors (XEP-0220 §2.4), and
acknowledgements are offered after SASL (XEP-0198).
"""

from __future__ import annotations

from component.relay.wire.events import PairAuthorized, StanzaReceived
from component.relay.wire.pairs import Pair
from component.relay.wire.policy import Authentication, Bidi, PartnerPolicy
from tests.wire.relay.play import DECLARED, Play, federation, our_key

HEADERS = "version='1.0' xml:lang='en'"
C = f"<stream:stream {DECLARED} from='capulet.lit' to='montague.lit' {HEADERS}>"
S = f"<stream:stream {DECLARED} from='montague.lit' to='capulet.lit' id='%s' {HEADERS}>"
TLS = "urn:ietf:params:xml:ns:xmpp-tls"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
BEFORE_TLS = f"""<stream:features><starttls xmlns='{TLS}'><required/></starttls>
<bidi xmlns='urn:xmpp:features:bidi'/></stream:features>"""
DIALBACK = "<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>"
PING = """<iq from='juliet@capulet.lit/balcony' to='montague.lit' type='get' id='8dfc70af'>
<query xmlns='urn:xmpp:ping'/></iq>"""
PONG = b"""<iq from='montague.lit' to='juliet@capulet.lit/balcony' type='result' id='8dfc70af'>\
<query xmlns='urn:xmpp:ping'/></iq>"""


def policy(domain: str, way: Authentication) -> PartnerPolicy:
    return PartnerPolicy(domain, bidi=Bidi.REQUIRED, authentication=(way,), verify_certificate=False)


def montague(way: Authentication) -> Play:
    """S, the receiving server."""
    ours = federation(policy("capulet.lit", way), domains=("montague.lit", "conference.montague.lit"))
    return Play.incoming(ours)


def capulet(way: Authentication) -> Play:
    """C, the connecting server."""
    ours = federation(policy("montague.lit", way), policy("conference.montague.lit", way), domains=("capulet.lit",))
    return Play.outgoing(ours, "capulet.lit", "montague.lit")


def secured_s(way: Authentication, *proven: str) -> Play:
    play = montague(way).hears(C)
    play.says(S % "id0" + BEFORE_TLS).hears(f"<starttls xmlns='{TLS}'/>").says(f"<proceed xmlns='{TLS}'/>")
    return play.tls(*proven).hears(C)


def secured_c(way: Authentication, *proven: str) -> Play:
    play = capulet(way).says(C).hears(S % "65b30434" + BEFORE_TLS).says(f"<starttls xmlns='{TLS}'/>")
    return play.hears(f"<proceed xmlns='{TLS}'/>").tls(*proven).says(C)


def test_with_sasl_as_the_receiving_server() -> None:
    play = secured_s(Authentication.EXTERNAL, "capulet.lit")
    play.says(
        S % "id1"
        + f"""<stream:features><mechanisms xmlns='{SASL}'><mechanism>EXTERNAL</mechanism></mechanisms>
        <bidi xmlns='urn:xmpp:features:bidi'/></stream:features>"""
    )
    play.hears("<bidi xmlns='urn:xmpp:bidi'/>").says_nothing()
    play.hears(f"<auth xmlns='{SASL}' mechanism='EXTERNAL'>Y2FwdWxldC5saXQ=</auth>").says(
        f"<success xmlns='{SASL}'/>"
    )
    play.nothing_more()
    play.hears(C).says(S % "id2" + "<stream:features><sm xmlns='urn:xmpp:sm:3'/></stream:features>")
    pair = Pair("montague.lit", "capulet.lit")
    assert play.expect(PairAuthorized) == PairAuthorized(pair, True, True, Authentication.EXTERNAL)
    play.hears(PING)
    assert play.expect(StanzaReceived).stanza.sender == "juliet@capulet.lit/balcony"
    play.take(play.machine.send(pair, PONG, None, 0.0)).says(PONG.decode()).nothing_more()


def test_with_sasl_as_the_connecting_server() -> None:
    play = secured_c(Authentication.EXTERNAL, "montague.lit")
    play.hears(
        S % "b5cd769b"
        + f"""<stream:features><mechanisms xmlns='{SASL}'><mechanism>EXTERNAL</mechanism></mechanisms>
        <bidi xmlns='urn:xmpp:features:bidi'/></stream:features>"""
    )
    play.says(
        f"<bidi xmlns='urn:xmpp:bidi'/><auth xmlns='{SASL}' mechanism='EXTERNAL'>Y2FwdWxldC5saXQ=</auth>"
    ).nothing_more()
    play.hears(f"<success xmlns='{SASL}'/>").says(C).nothing_more()
    play.hears(S % "2f0e6c1a" + "<stream:features/>")
    pair = Pair("capulet.lit", "montague.lit")
    assert play.expect(PairAuthorized) == PairAuthorized(pair, True, True, Authentication.EXTERNAL)
    play.take(play.machine.send(pair, PING.encode(), None, 0.0)).says(PING)
    play.hears(PONG)
    assert play.expect(StanzaReceived).stanza.recipient == "juliet@capulet.lit/balcony"
    play.nothing_more()


def test_with_dialback_as_the_receiving_server() -> None:
    play = secured_s(Authentication.DIALBACK, "capulet.lit")
    play.says(S % "id1" + f"<stream:features><bidi xmlns='urn:xmpp:features:bidi'/>{DIALBACK}</stream:features>")
    play.hears("<bidi xmlns='urn:xmpp:bidi'/>")
    play.hears("<db:result from='capulet.lit' to='montague.lit'>e3f5cf21f12749ef2cf59269bc0118f35bc46b26</db:result>")
    play.says("<db:result from='montague.lit' to='capulet.lit' type='valid'/>")
    pair = Pair("montague.lit", "capulet.lit")
    assert play.expect(PairAuthorized) == PairAuthorized(pair, True, True, Authentication.DIALBACK)
    play.hears(PING).expect(StanzaReceived)
    play.take(play.machine.send(pair, PONG, None, 0.0)).says(PONG.decode())
    conference = Pair("conference.montague.lit", "capulet.lit")
    play.take(play.machine.authorize(conference, 0.0)).says(
        f"<db:result from='conference.montague.lit' to='capulet.lit'>{our_key(*conference, 'id1')}</db:result>"
    )
    play.hears("<db:result from='capulet.lit' to='conference.montague.lit' type='valid'/>")
    assert play.expect(PairAuthorized) == PairAuthorized(conference, True, True, Authentication.DIALBACK)
    play.hears("<message from='juliet@capulet.lit' to='balcony@conference.montague.lit'/>").expect(StanzaReceived)
    play.nothing_more()


def test_with_dialback_as_the_connecting_server() -> None:
    play = secured_c(Authentication.DIALBACK, "montague.lit", "conference.montague.lit")
    play.hears(
        S % "b5cd769b"
        + f"""<stream:features><mechanisms xmlns='{SASL}'/>
        <bidi xmlns='urn:xmpp:features:bidi'/></stream:features>"""
    )
    pair = Pair("capulet.lit", "montague.lit")
    play.says(
        "<bidi xmlns='urn:xmpp:bidi'/>"
        f"<db:result from='capulet.lit' to='montague.lit'>{our_key(*pair, 'b5cd769b')}</db:result>"
    ).nothing_more()
    play.hears("<db:result from='montague.lit' to='capulet.lit' type='valid'/>")
    assert play.expect(PairAuthorized) == PairAuthorized(pair, True, True, Authentication.DIALBACK)
    play.take(play.machine.send(pair, PING.encode(), None, 0.0)).says(PING).hears(PONG).expect(StanzaReceived)
    play.hears(
        "<db:result from='conference.montague.lit' to='capulet.lit'>1bac3ef56fed987cfe098c9785c654a5</db:result>"
    )
    play.says("<db:result from='capulet.lit' to='conference.montague.lit' type='valid'/>")
    conference = Pair("capulet.lit", "conference.montague.lit")
    assert play.expect(PairAuthorized) == PairAuthorized(conference, True, True, Authentication.DIALBACK)
    play.hears("<message from='balcony@conference.montague.lit' to='juliet@capulet.lit'/>").expect(StanzaReceived)
    play.nothing_more()
