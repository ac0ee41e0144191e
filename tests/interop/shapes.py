"""Every shape of a payload, and what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from xml.sax.saxutils import escape

from tests.interop.cast import BAD_REQUEST, CPE1, OFFLINE, PASSED, TARGET
from tests.interop.clients import CONNECTION_REQUEST
from tests.interop.plugin import addressed

NS = f"xmlns='{CONNECTION_REQUEST}'"
OK = f"<connectionRequest {NS}><username>u</username><password>p</password></connectionRequest>"
DEPTH = 5_000
Outcome = tuple[str, str] | None


class Fate(Enum):
    """What the sender may hear when it is allowed; who is not gets `FORBIDDEN`. None is nothing."""

    DELIVERED = (PASSED,)
    REFUSED = (BAD_REQUEST,)
    MENDED_OR_REFUSED = (PASSED, BAD_REQUEST)
    """ejabberd drops text beside a payload before the plugin is asked."""
    REFUSED_QUIETLY = (BAD_REQUEST, None)
    """The sender's own server may keep the answer to itself."""
    DROPPED = (None,)
    ABSENT = (OFFLINE,)
    """The server says that nobody is there."""


@dataclass(frozen=True)
class Shape:
    """A stanza; ``$A`` stands for its id and its target.

    :ivar seen: user name and password that the device must see.
    :ivar own: what the requester's server may say of it by itself, before the plugin is asked.
    """

    name: str
    xml: str
    fate: Fate = Fate.REFUSED
    to: str = TARGET
    seen: tuple[str, str] = ("u", "p")
    own: Outcome = None

    def written(self, prefix: str, sender: str) -> str:
        """As it is sent; `prefix` makes its id one of its own."""
        xml = self.xml.replace("$A", f"id='{prefix}.{self.name}' to='{self.to}'")
        return addressed(xml, sender) if sender else xml


def get(name: str, payload: str, user: str = "u", word: str = "p") -> Shape:
    """A get that is mended."""
    return Shape(name, f"<iq type='get' $A>{payload}</iq>", Fate.DELIVERED, seen=(user, word))


def filled(user: str, word: str) -> str:
    """A payload in normal form; both are XML."""
    return f"<connectionRequest {NS}><username>{user}</username><password>{word}</password></connectionRequest>"


def bad(name: str, payload: str, own: Outcome = None) -> Shape:
    """A get that cannot be mended."""
    return Shape(name, f"<iq type='get' $A>{payload}</iq>", own=own)


def at(name: str, to: str, fate: Fate = Fate.DELIVERED) -> Shape:
    """A good request to another spelling or address."""
    return Shape(name, f"<iq type='get' $A>{OK}</iq>", fate, to=to)


MARKUP = "<&>\"'"
PRIVATE = "\ue000\U000f0000\u200b\u00a0"
MENDED = (
    get("plain", OK),
    get("white-space", f"\n\t<connectionRequest {NS}>\r\n <username>u</username>\n\n<password>p</password> "
        "</connectionRequest>  "),
    get("space-in-tags", f"<connectionRequest  {NS} ><username >u</username ><password\n>p</password\t>"
        "</connectionRequest >"),
    get("password-first", f"<connectionRequest {NS}><password>p</password><username>u</username>"
        "</connectionRequest>"),
    get("attributes", f"<connectionRequest a='1' {NS} xml:lang='de'><username b='2'>u</username>"
        "<password xmlns:q='urn:q' q:c='3'>p</password></connectionRequest>"),
    get("prefix", f"<x:connectionRequest xmlns:x='{CONNECTION_REQUEST}'><x:username>u</x:username>"
        "<x:password>p</x:password></x:connectionRequest>"),
    get("two-prefixes", f"<x:connectionRequest xmlns:x='{CONNECTION_REQUEST}' xmlns:y='{CONNECTION_REQUEST}'>"
        f"<y:username>u</y:username><password {NS}>p</password></x:connectionRequest>"),
    get("prefix-declared-anew", f"<x:connectionRequest xmlns:x='{CONNECTION_REQUEST}'>"
        f"<x:username xmlns:x='{CONNECTION_REQUEST}'>u</x:username><x:password>p</x:password></x:connectionRequest>"),
    Shape("prefix-of-the-stanza", f"<iq type='get' xmlns:x='{CONNECTION_REQUEST}' $A><x:connectionRequest>"
          "<x:username>u</x:username><x:password>p</x:password></x:connectionRequest></iq>", Fate.DELIVERED),
    Shape("foreign-attributes", f"<iq type='get' xml:lang='de' strange='1' xmlns:q='urn:q' q:z='2' $A>{OK}</iq>",
          Fate.DELIVERED),
    get("cdata", filled("<![CDATA[u<&]]>", "p<![CDATA[]]>"), "u<&", "p"),
    get("references", filled("&#117;&#x75;", "&#x1F512;&amp;lt;"), "uu", "\U0001f512&lt;"),
    get("markup", filled(escape(MARKUP), escape(MARKUP)), MARKUP, MARKUP),
    get("private-use", filled(PRIVATE, PRIVATE), PRIVATE, PRIVATE),
    get("space-in-values", filled(" u ", "p\t\n p"), " u ", "p\t\n p"),
    get("empty-values", filled("", ""), "", ""),
    get("empty-elements", f"<connectionRequest {NS}><password/><username/></connectionRequest>", "", ""),
    get("256", filled("u" * 256, "p" * 256), "u" * 256, "p" * 256),
    get("256-unicode", filled("\u00fc" * 256, "\U0001f512" * 256), "\u00fc" * 256, "\U0001f512" * 256),
    at("upper-case", "CPE1@CPE.TEST/tr069"),
    at("full-width", "\uff43\uff50\uff45\uff11@\uff43\uff50\uff45.test/\uff54\uff52\uff10\uff16\uff19"),
    at("soft-hyphen", "cpe\u00ad1@cpe.test/tr069"),
)  # fmt: skip
"""What is mended, and arrives."""

ELSEWHERE = (
    at("bare", CPE1, Fate.ABSENT),
    at("another-resource", f"{CPE1}/other", Fate.ABSENT),
    at("resource-in-another-case", f"{CPE1}/TR069", Fate.ABSENT),
    at("resource-too-long", f"{CPE1}/tr0690", Fate.ABSENT),
)
"""What is good, but nobody is there."""

FORWARDED = (
    f"<forwarded xmlns='urn:xmpp:forward:0'><iq xmlns='jabber:client' type='get' to='{TARGET}'>{OK}</iq></forwarded>"
)
PUBSUB = "http://jabber.org/protocol/pubsub"
WRAPPED = {
    "foreign": f"<x xmlns='urn:x'>{OK}</x>",
    "itself": f"<connectionRequest {NS}>{OK}</connectionRequest>",
    "forwarded": FORWARDED,
    "carbon": f"<received xmlns='urn:xmpp:carbons:2'>{FORWARDED}</received>",
    "event": f"<event xmlns='{PUBSUB}#event'><items node='n'><item id='1'>{OK}</item></items></event>",
    "xhtml": f"<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'><p>{OK}"
    "</p></body></html>",
    "depth": "<x>" * DEPTH + OK + "</x>" * DEPTH,
    "no-namespace": "<connectionRequest xmlns=''><username>u</username><password>p</password></connectionRequest>",
    "inherited": "<connectionRequest><username>u</username><password>p</password></connectionRequest>",
    "another-namespace": f"<connectionRequest xmlns='urn:x'><username>u</username>{OK}</connectionRequest>",
    "prefix-elsewhere": "<x:connectionRequest xmlns:x='urn:x'><x:username>u</x:username></x:connectionRequest>",
    "another-name": f"<request {NS}><username>u</username><password>p</password></request>",
    "another-case": f"<ConnectionRequest {NS}><username>u</username><password>p</password></ConnectionRequest>",
    "only-a-child": f"<x xmlns='urn:x'><username {NS}>u</username></x>",
}  # fmt: skip
"""Payloads where none may be."""

MALFORMED = (
    bad("no-user-name", f"<connectionRequest {NS}><password>p</password></connectionRequest>"),
    bad("no-password", f"<connectionRequest {NS}><username>u</username></connectionRequest>"),
    bad("no-children", f"<connectionRequest {NS}/>"),
    bad("two-user-names", OK.replace("<password>", "<username>v</username><password>")),
    bad("two-passwords", OK.replace("</connectionRequest>", "<password/></connectionRequest>")),
    bad("text", OK.replace("<password>", "text<password>")),
    bad("text-cdata", OK.replace("<password>", "<![CDATA[x]]><password>")),
    bad("text-no-break-space", OK.replace("<password>", "\u00a0<password>")),
    Shape("text-in-the-stanza", f"<iq type='get' $A>text{OK}</iq>", Fate.MENDED_OR_REFUSED),
    Shape("text-behind", f"<iq type='get' $A>{OK}text</iq>", Fate.MENDED_OR_REFUSED),
    bad("one-more-child", OK.replace("<password>", "<more/><password>")),
    bad("one-more-child-of-another", OK.replace("<password>", "<more xmlns='urn:x'/><password>")),
    bad("child-in-the-user-name", OK.replace("u</username>", "u<b/></username>")),
    bad("deep-in-the-password", OK.replace("p<", "<a>" * DEPTH + "</a>" * DEPTH + "<")),
    bad("user-name-of-another", OK.replace("<username>", "<username xmlns='urn:x'>")),
    bad("password-of-none", OK.replace("<password>", "<password xmlns=''>")),
    bad("257", filled("u" * 257, "p")),
    bad("257-password", filled("u", "p" * 257)),
    bad("257-unicode", filled("u", "\u00fc" * 257)),
    bad("behind-another", f"<ping xmlns='urn:xmpp:ping'/>{OK}", BAD_REQUEST),
    bad("before-another", f"{OK}<ping xmlns='urn:xmpp:ping'/>", BAD_REQUEST),
    bad("between-others", f"<a xmlns='urn:a'/>{OK}<b xmlns='urn:b'/>", BAD_REQUEST),
    bad("two", OK + OK, BAD_REQUEST),
    bad("two-of-which-one-is-no-request", f"{OK}<connectionRequest xmlns='urn:x'/>", BAD_REQUEST),
    bad("beside-an-error", f"{OK}<error type='cancel'/>", BAD_REQUEST),
    Shape("set", f"<iq type='set' $A>{OK}</iq>"),
    Shape("set-bare", f"<iq type='set' $A>{OK}</iq>", to=CPE1),
    Shape("strange-type", f"<iq type='GET' $A>{OK}</iq>", own=BAD_REQUEST),
    *(bad(f"get-{name}", wrapped) for name, wrapped in WRAPPED.items()),
    *(Shape(f"set-{name}", f"<iq type='set' $A>{wrapped}</iq>") for name, wrapped in WRAPPED.items()),
)  # fmt: skip
"""Iqs that are not mended."""

MESSAGES = (
    *(
        Shape(f"message-{kind}", f"<message type='{kind}' $A><body>b</body>{OK}</message>")
        for kind in ("chat", "normal", "headline", "groupchat", "strange")
    ),
    Shape("message", f"<message $A>{OK}</message>"),
    Shape("message-bare", f"<message type='chat' $A>{OK}<body>b</body></message>", to=CPE1),
    Shape("message-another-resource", f"<message type='chat' $A>{OK}</message>", to=f"{CPE1}/other"),
    *(Shape(f"message-{name}", f"<message type='chat' $A>{wrapped}</message>") for name, wrapped in WRAPPED.items()),
    Shape("headline-event", f"<message type='headline' $A>{WRAPPED['event']}</message>", to=CPE1),
)
SUBSCRIPTIONS = ("subscribe", "subscribed", "unsubscribe", "unsubscribed", "probe")
PRESENCE = (
    Shape("presence", f"<presence $A>{OK}</presence>"),
    Shape("presence-nested", f"<presence $A><show>away</show><x xmlns='urn:x'>{OK}</x></presence>"),
    Shape("presence-unavailable", f"<presence type='unavailable' $A>{OK}</presence>"),
    Shape("presence-bare", f"<presence $A>{OK}</presence>", to=CPE1),
    *(
        Shape(f"presence-{kind}", f"<presence type='{kind}' $A>{OK}</presence>", Fate.REFUSED_QUIETLY, to=CPE1)
        for kind in SUBSCRIPTIONS
    ),
    *(
        Shape(f"presence-{kind}-full", f"<presence type='{kind}' $A>{OK}</presence>", Fate.REFUSED_QUIETLY)
        for kind in SUBSCRIPTIONS
    ),
)
ERROR = "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
ANSWERS = tuple(
    Shape(f"answer-{number}-{'bare' if to == CPE1 else 'full'}", xml, Fate.DROPPED, to=to)
    for number, xml in enumerate((
        f"<iq type='result' $A>{OK}</iq>",
        f"<iq type='result' $A>{WRAPPED['forwarded']}</iq>",
        f"<iq type='error' $A>{OK}</iq>",
        f"<iq type='error' $A>{OK}{ERROR}</iq>",
        f"<message type='error' $A>{OK}{ERROR}</message>",
        f"<presence type='error' $A>{OK}{ERROR}</presence>",
    ))
    for to in (TARGET, CPE1)
)  # fmt: skip
"""What might be taken for an answer; nobody is told."""

SHAPES = (*MENDED, *ELSEWHERE, *MALFORMED, *MESSAGES, *PRESENCE, *ANSWERS)
