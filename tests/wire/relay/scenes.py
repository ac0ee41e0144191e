"""Scenes that plays begin with: a partner, and a stream with it that has come so far.

We are ``isp.test``, with ``cpe.isp.test``. The partners are ``partner.test`` and, where a play needs more than one,
``chat.partner.test``; ``stranger.test`` is none.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from component.relay import ns
from component.relay.wire.events import ReadyToAsk, StartTls, VerifyKey
from component.relay.wire.pairs import Pair
from component.relay.wire.policy import Authentication, Federation, Limits, PartnerPolicy
from component.relay.wire.s2s_out import Purpose
from component.relay.wire.states import INCOMING, OUTGOING, State, Table
from tests.wire.relay.play import DECLARED, LIMITS, Play, federation, our_key

OURS, CPE = "isp.test", "cpe.isp.test"
PARTNER, CHAT, STRANGER = "partner.test", "chat.partner.test", "stranger.test"
PAIR = Pair(OURS, PARTNER)
EXTERNAL, DIALBACK = Authentication.EXTERNAL, Authentication.DIALBACK

STARTTLS = f"<starttls xmlns='{ns.TLS}'/>"
PROCEED = f"<proceed xmlns='{ns.TLS}'/>"
BIDI = f"<bidi xmlns='{ns.BIDI}'/>"
BIDI_FEATURE = f"<bidi xmlns='{ns.BIDI_FEATURE}'/>"
STARTTLS_FEATURE = f"<starttls xmlns='{ns.TLS}'><required/></starttls>"
EXTERNAL_FEATURE = f"<mechanisms xmlns='{ns.SASL}'><mechanism>EXTERNAL</mechanism></mechanisms>"
DIALBACK_FEATURE = f"<dialback xmlns='{ns.DIALBACK_FEATURE}'><errors/></dialback>"
SM_FEATURE = f"<sm xmlns='{ns.SM}'/>"
SUCCESS = f"<success xmlns='{ns.SASL}'/>"
END = "</stream:stream>"
SAID_ID = "p33r"
"""Of the streams that a partner answers with."""


def partner(domain: str = PARTNER, **wanted: Any) -> PartnerPolicy:
    """A partner with which everything is allowed, but for what is said."""
    return replace(PartnerPolicy(domain, authentication=(EXTERNAL, DIALBACK)), **wanted)


def ours(*partners: PartnerPolicy, limits: Limits = LIMITS) -> Federation:
    """Our side."""
    return federation(*(partners or (partner(),)), domains=(OURS, CPE), limits=limits)


def header(sender: str = PARTNER, to: str = OURS, *, id: str = "", rest: str = "version='1.0' xml:lang='en'") -> str:
    """A stream header; what is empty is left out."""
    names = "".join(f" {name}='{value}'" for name, value in (("from", sender), ("to", to), ("id", id)) if value)
    return f"<stream:stream {DECLARED}{names} {rest}>"


def answer(number: int) -> str:
    """Our header, as a receiver."""
    return header(OURS, PARTNER, id=f"id{number}")


def features(*offered: str) -> str:
    """What a receiver offers."""
    return f"<stream:features>{''.join(offered)}</stream:features>"


def auth(response: str = "cGFydG5lci50ZXN0", mechanism: str = "EXTERNAL") -> str:
    """SASL; the response is the partner's domain."""
    return f"<auth xmlns='{ns.SASL}' mechanism='{mechanism}'>{response}</auth>"


def sasl_failure(condition: str) -> str:
    """SASL has failed."""
    return f"<failure xmlns='{ns.SASL}'><{condition}/></failure>"


def result(sender: str = PARTNER, to: str = OURS, key: str = "k", *, type: str = "") -> str:
    """``db:result``, a request or an answer."""
    if type:
        return f"<db:result from='{sender}' to='{to}' type='{type}'/>"
    return f"<db:result from='{sender}' to='{to}'>{key}</db:result>"


def verify(sender: str, to: str, id: str, key: str = "", *, type: str = "") -> str:
    """``db:verify``, a question or an answer."""
    said = f" type='{type}'" if type else ""
    return f"<db:verify from='{sender}' to='{to}' id='{id}'{said}>{key}</db:verify>"


def error(kind: str, sender: str, to: str, condition: str, id: str = "") -> str:
    """A dialback error."""
    said = f" id='{id}'" if id else ""
    return f"""<db:{kind} from='{sender}' to='{to}'{said} type='error'>
        <error type='cancel'><{condition} xmlns='{ns.STANZA_ERRORS}'/></error></db:{kind}>"""


def stream_error(condition: str, text: str = "") -> str:
    """A stream error, and the end."""
    said = f"<text xmlns='{ns.STREAM_ERRORS}'>{text}</text>" if text else ""
    return f"<stream:error><{condition} xmlns='{ns.STREAM_ERRORS}'/>{said}</stream:error>{END}"


def message(sender: str = f"romeo@{PARTNER}", to: str = f"acs@{OURS}", body: str = "hello") -> str:
    """A stanza."""
    return f"<message from='{sender}' to='{to}'><body>{body}</body></message>"


# Incoming streams


def asked_for_tls(*partners: PartnerPolicy, limits: Limits = LIMITS) -> Play:
    """A partner has connected, and we have told it to begin TLS."""
    play = Play.incoming(ours(*partners, limits=limits)).hears(header())
    assert STARTTLS_FEATURE in play.said()
    return play.hears(STARTTLS).says(PROCEED)


def negotiating(*partners: PartnerPolicy, proven: tuple[str, ...] = (PARTNER,), limits: Limits = LIMITS) -> Play:
    """Behind TLS, and before authentication; the certificate proves these domains."""
    play = asked_for_tls(*partners, limits=limits).tls(*proven).hears(header())
    assert "<stream:features>" in play.said()
    return play


def accepted(*partners: PartnerPolicy, bidi: bool = False, limits: Limits = LIMITS) -> Play:
    """The partner was authenticated by EXTERNAL, and has not begun anew."""
    play = negotiating(*partners, limits=limits)
    return (play.hears(BIDI) if bidi else play).hears(auth()).says(SUCCESS)


def received(*partners: PartnerPolicy, bidi: bool = False, limits: Limits = LIMITS) -> Play:
    """Open, by EXTERNAL."""
    play = accepted(*partners, bidi=bidi, limits=limits).hears(header())
    play.says(answer(2) + features(SM_FEATURE, DIALBACK_FEATURE))
    return play.authorizes(PAIR, EXTERNAL, sends=bidi, receives=True).nothing_more()


def received_by_dialback(*partners: PartnerPolicy, bidi: bool = False, limits: Limits = LIMITS) -> Play:
    """Open, by dialback without a call back; the certificate proves the partner's domain only."""
    play = negotiating(*partners, limits=limits)
    (play.hears(BIDI) if bidi else play).hears(result()).says(result(OURS, PARTNER, type="valid"))
    return play.authorizes(PAIR, DIALBACK, sends=bidi, receives=True).nothing_more()


def doubted(*, bidi: bool = False) -> Play:
    """A peer has sent a key, and its certificate proves nothing: somebody must be asked."""
    play = negotiating(partner(authentication=(DIALBACK,)), proven=())
    (play.hears(BIDI) if bidi else play).hears(result())
    assert play.expect(VerifyKey) == VerifyKey(PAIR, "id1", "k")
    return play.nothing_more()


# Outgoing streams


def connected(*partners: PartnerPolicy, purpose: Purpose = Purpose.STANZAS, limits: Limits = LIMITS) -> Play:
    """We have connected to the partner, and said our header."""
    return Play.outgoing(ours(*partners, limits=limits), OURS, PARTNER, purpose=purpose).says(header(OURS, PARTNER))


def secured(
    *partners: PartnerPolicy,
    proven: tuple[str, ...] = (PARTNER,),
    purpose: Purpose = Purpose.STANZAS,
    limits: Limits = LIMITS,
) -> Play:
    """Behind TLS; the partner has not said yet what it offers."""
    play = connected(*partners, purpose=purpose, limits=limits)
    play.hears(header(PARTNER, OURS, id="first") + features(STARTTLS_FEATURE)).says(STARTTLS)
    play.hears(PROCEED).tls(*proven).says(header(OURS, PARTNER))
    return play.hears(header(PARTNER, OURS, id=SAID_ID))


def authenticating(*partners: PartnerPolicy, bidi: bool = False, limits: Limits = LIMITS) -> Play:
    """We have tried EXTERNAL."""
    play = secured(*partners, limits=limits)
    play.hears(features(EXTERNAL_FEATURE, *([BIDI_FEATURE] if bidi else []), DIALBACK_FEATURE))
    return play.says((BIDI if bidi else "") + auth("aXNwLnRlc3Q="))


def asking(*partners: PartnerPolicy, bidi: bool = False, limits: Limits = LIMITS) -> Play:
    """We have sent our key."""
    play = secured(*partners, limits=limits)
    play.hears(features(*([BIDI_FEATURE] if bidi else []), DIALBACK_FEATURE))
    return play.says((BIDI if bidi else "") + result(OURS, PARTNER, our_key(*PAIR, SAID_ID)))


def opened(*partners: PartnerPolicy, bidi: bool = False, acks: bool = False, limits: Limits = LIMITS) -> Play:
    """Open, by EXTERNAL."""
    play = authenticating(*partners, bidi=bidi, limits=limits).hears(SUCCESS).says(header(OURS, PARTNER))
    play.hears(header(PARTNER, OURS, id="third") + features(*([SM_FEATURE] if acks else []), DIALBACK_FEATURE))
    play.says(f"<enable xmlns='{ns.SM}'/>" if acks else "")
    return play.authorizes(PAIR, EXTERNAL, sends=True, receives=bidi).nothing_more()


def opened_by_dialback(*partners: PartnerPolicy, bidi: bool = False, limits: Limits = LIMITS) -> Play:
    """Open, by dialback."""
    play = asking(*partners, bidi=bidi, limits=limits).hears(result(PARTNER, OURS, type="valid"))
    return play.authorizes(PAIR, DIALBACK, sends=True, receives=bidi).nothing_more()


def asking_about_keys(*partners: PartnerPolicy, limits: Limits = LIMITS) -> Play:
    """A stream of ours that is there to ask about keys."""
    play = secured(*partners, purpose=Purpose.VERIFY, limits=limits).hears(features(DIALBACK_FEATURE))
    play.expect(ReadyToAsk)
    return play.nothing_more()


# Every state


def incoming_in(state: State) -> Play:
    """An incoming stream in a state."""
    match state:
        case State.HEADER:
            return Play.incoming(ours())
        case State.PLAIN:
            play = Play.incoming(ours()).hears(header())
            play.said()
            return play
        case State.TLS:
            play = asked_for_tls()
            play.expect(StartTls)
            return play
        case State.TLS_HEADER:
            return asked_for_tls().tls(PARTNER)
        case State.NEGOTIATING:
            return negotiating()
        case State.SASL_HEADER:
            return accepted()
        case State.OPEN:
            return received()
        case State.CLOSING:
            return received().closes().says(END).ended(by_us=True)
        case _:
            return received().loses().ended(by_us=False).gone(closed=False)


def outgoing_in(state: State) -> Play:
    """An outgoing stream in a state."""
    plain = header(PARTNER, OURS, id="first")
    match state:
        case State.HEADER:
            return connected()
        case State.PLAIN:
            return connected().hears(plain)
        case State.PROCEED:
            return connected().hears(plain + features(STARTTLS_FEATURE)).says(STARTTLS)
        case State.TLS | State.TLS_HEADER:
            play = connected().hears(plain + features(STARTTLS_FEATURE)).says(STARTTLS).hears(PROCEED)
            play.expect(StartTls)
            return play if state is State.TLS else play.tls(PARTNER).says(header(OURS, PARTNER))
        case State.TLS_FEATURES:
            return secured()
        case State.SASL:
            return authenticating()
        case State.DIALBACK:
            return asking()
        case State.SASL_HEADER:
            return authenticating().hears(SUCCESS).says(header(OURS, PARTNER))
        case State.SASL_FEATURES:
            play = authenticating().hears(SUCCESS).says(header(OURS, PARTNER))
            return play.hears(header(PARTNER, OURS, id="third"))
        case State.VERIFYING:
            return asking_about_keys()
        case State.OPEN:
            return opened()
        case State.CLOSING:
            return opened().closes().says(END).ended(by_us=True)
        case _:
            return opened().loses().ended(by_us=False).gone(closed=False)


def stream_in(role: str, state: State) -> Play:
    """A stream of one of the machines in a state in which it can be found."""
    play = (incoming_in if role == "incoming" else outgoing_in)(state)
    assert play.machine.state is state
    return play


_PASSED = {("outgoing", State.NEGOTIATING)} | {
    ("incoming", state)
    for state in (
        State.PROCEED, State.TLS_FEATURES, State.SASL, State.DIALBACK, State.SASL_FEATURES, State.VERIFYING,
    )
}  # fmt: skip
"""Passed through within one call, or never come to."""

MACHINES: dict[str, Table] = {"incoming": INCOMING, "outgoing": OUTGOING}
RESTING = [(name, state) for name, table in MACHINES.items() for state in State if (name, state) not in _PASSED]
"""Every machine in every state in which it can be found."""
