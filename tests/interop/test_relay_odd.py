"""What a partner's users may write, however odd: it arrives as it was sent or is refused, and hurts nobody.

The relay is attached to the local server for all users of the partner. What ends that stream would be a way for each
of them to silence all others.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET

from .cast import BAD_REQUEST, ONE, TWO, outcome
from .clients import read_answer
from .rawclient import online
from .relaykit_raw import Peer
from .relaykit_siege import Siege, answered, has, stanza, with_id

COMPONENT, CLIENT, SERVER = "jabber:component:accept", "jabber:client", "jabber:server"
LARGEST = 512 * 1024
NOBODY, HOST = "nobody@acs.test", "acs.test"


async def both_unhurt(siege: Siege, attacker: Peer) -> None:
    """The attacker's own stanzas go on, another partner's do, and no attachment was lost."""
    await answered(attacker)
    async with siege.partner(TWO) as other:
        await answered(other)
    siege.unhurt()


SAME = [
    "<body>plain</body>",
    "<body>Zürich 𐍈 \ufdd0 \U0001fffe \u200b\u202e</body>",
    "<body>&#x1F600;&#10;&#13;&#9;&#x85;\r\n\r</body>",
    "<body><![CDATA[<x>&amp;]]]]><![CDATA[>]]></body>",
    "<body>\"'&quot;&apos;&lt;&gt;&amp;</body>",
    "<body xmlns='jabber:server'>named</body>",
    "<q:body xmlns:q='jabber:server'>with a prefix</q:body>",
    "<q:body xmlns:q='jabber&#58;server'>hidden</q:body>",
    "<body xmlns='urn:other'>no body</body>",
    "<x xmlns='urn:x'><body>no body</body></x>",
    "<x xmlns=''><message/></x>",
    "<error xmlns='urn:x'/>",
    f"<x xmlns='urn:x'><message xmlns='{CLIENT}'><body/></message></x>",
    "<_.-1é:x xmlns:_.-1é='urn:p'/>",
    "<db:x/><stream:x/><stream:error/>",
    "<stream:stream xmlns:stream='mine'/>",
    "<x xmlns=' urn:x '/>",
    "<x xmlns='&lt;&quot;&amp;&apos;>'/>",
    f"<x xmlns='urn:{'x' * 50_000}'/>",
    "<x" + "".join(f" a{number}='{number}'" for number in range(100)) + "/>",
    "<x xmlns='urn:x' a='b c\td  e'/>",
    "<a xmlns='urn:a'>" * 99 + "</a>" * 99,
    "<a xmlns='urn:a'><b xmlns='urn:b'>" * 49 + "</b></a>" * 49,
    "<x xmlns='urn:x'>" + "<y/>" * 20_000 + "</x>",
    "<x xmlns='urn:x' " + " ".join(f"xmlns:p{number}='urn:{number}'" for number in range(60)) + "/>",
    "<body xml:lang='de'>xml</body>",
]


async def test_what_arrives_means_what_was_sent(siege: Siege) -> None:
    """For clients of the real server, whatever prefixes and namespaces were used."""
    async with online(siege.sandbox, "acs1", "odd") as ours, siege.partner() as attacker:
        for number, content in enumerate(SAME):
            await attacker.write(stanza("message", ONE, ours.jid, content, id=f"same-{number}", type="chat"))
        await has(ours, f"same-{len(SAME) - 1}")
        for number, content in enumerate(SAME):
            assert meaning(await has(ours, f"same-{number}")) == meaning(sent(content)), content[:200]
        assert not ours.ended
        await both_unhurt(siege, attacker)


def sent(content: str) -> ET.Element:
    """What a client should see of it: what is in the content namespace stays in that of the stream."""
    content = content.replace("jabber:server", CLIENT).replace("jabber&#58;server", CLIENT)
    return ET.fromstring(
        f"<stream:stream xmlns='{CLIENT}' xmlns:stream='http://etherx.jabber.org/streams' "
        f"xmlns:db='jabber:server:dialback'><message>{content}</message></stream:stream>"
    )[0]


def meaning(message: ET.Element) -> list[str]:
    """The children of a stanza in canonical form, without what servers add."""
    written = [ET.tostring(child, encoding="unicode") for child in message if "sid:0" not in child.tag]
    return [ET.canonicalize(text, rewrite_prefixes=True) for text in written]


CHANGING = [
    f"<body xmlns='{COMPONENT}'>a body after all</body>",
    f"<q:error xmlns:q='{COMPONENT}' type='cancel'/>",
    "<body xmlns='jabber:component&#58;accept'/>",
    f"<x xmlns='urn:x'><message xmlns='{COMPONENT}'/></x>",
    "<xml:x/>",
    "<x xmlns='urn:x' xml:odd='1'/>",
]


async def test_what_would_arrive_as_something_else_is_refused(siege: Siege) -> None:
    """An element must not become a part of the stanza on the way, nor end the stream of who gets it."""
    async with online(siege.sandbox, "acs1", "odd") as ours, siege.partner() as attacker:
        for number, content in enumerate(CHANGING):
            await attacker.write(stanza("iq", ONE, ours.jid, content, id=f"changing-{number}", type="get"))
            answer = await with_id(attacker, f"changing-{number}")
            for each in answer.iter():
                each.tag = each.tag.replace(SERVER, CLIENT)
            assert outcome(read_answer(answer)) == BAD_REQUEST, content
            await attacker.write(stanza("message", ONE, ours.jid, content, id=f"changing-{number}"))
        await attacker.write(stanza("message", ONE, ours.jid, id="last"))
        await has(ours, "last")
        assert not [stanza for stanza in ours.stanzas if stanza.get("id", "").startswith("changing")]
        await both_unhurt(siege, attacker)


TYPES = (
    "",
    " ",
    "chatty",
    "error",
    "groupchat",
    "GET",
    "get",
    "set",
    "result",
    "é",
    "subscribe",
    "probe",
    "invisible",
)
RESOURCES = (
    "\u200b",
    " ",
    "&#9;x",
    "a/b@c/d",
    "r" * 1023,
    "r" * 1024,
    "r" * 5000,
    "\u0130\ufdd0",
    "\U000e0001",
    "&#10;",
)
LOCALS = (
    "a\u0130", "a b", "a&amp;b", "a:b", "&lt;", "&quot;", "&#10;a", " a", "\u00aa", "\u1f50", "\u00df", "l" * 1023,
    "l" * 1024, "\\20a", "a\u200bb", "\ufffd", "\ud7ff", "b%20a",
)  # fmt: skip
DOMAINS = ("ONE.attack.test", "one.ATTACK.test/x", "\uff4fne.attack.test", "one.attack.test.")


async def test_odd_types_ids_and_languages(siege: Siege) -> None:
    ids = ("", " ", "x" * 4000, "&quot;&apos;&lt;&amp;", "&#x9;&#xA;", "\ufdd0", "x" * 400_000, "'" * 400_000)
    async with online(siege.sandbox, "acs1", "odd") as ours, siege.partner() as attacker:
        await ours.send_raw("<presence/>")
        for to in (ours.jid, "acs1@acs.test", NOBODY, HOST):
            for kind in ("message", "presence", "iq"):
                question = "<q xmlns='urn:q'/>"
                for type in TYPES:
                    await attacker.write(stanza(kind, ONE, to, question, type_=type, id="i"))
                    await attacker.write(stanza(kind, ONE, to, type_=type))
                await attacker.write(stanza(kind, ONE, to, "text" + question * 3))
                for language in ("", "x" * 5000, "!!", "a b", "-"):
                    await attacker.write(stanza(kind, ONE, to, question, xml_lang=language).replace("xml_l", "xml:l"))
            for id in ids:
                await attacker.write(stanza("iq", ONE, to, "<q xmlns='urn:q'/>", type_="get", id=id))
        await both_unhurt(siege, attacker)
        assert not ours.ended


async def test_odd_addresses(siege: Siege) -> None:
    """Local parts and resources are the business of the servers whose users they name; they answer, and go on."""
    senders = [f"{name}@{ONE}/x" for name in LOCALS] + [f"a@{ONE}/{name}" for name in RESOURCES] + [ONE, f"{ONE}/x"]
    senders += [f"a@{domain}" for domain in DOMAINS[:3]] + list(DOMAINS[:3])
    recipients = [f"{name}@acs.test" for name in LOCALS] + [f"acs1@acs.test/{name}" for name in RESOURCES]
    recipients += ["ACS.test", "acs.TEST/x", "acs1@acs.test./x"[:-3]]
    async with siege.partner() as attacker:
        for kind, type in (
            ("message", ""),
            ("iq", "get"),
            ("iq", "result"),
            ("presence", "subscribe"),
            ("presence", ""),
        ):

            def written(sender: str, to: str, kind: str = kind, type: str = type) -> str:
                shown = f" type='{type}'" if type else ""
                return f"<{kind} from='{sender}' to='{to}' id='i'{shown}><q xmlns='urn:q'/></{kind}>"

            for sender in senders:
                for to in (HOST, NOBODY, "acs1@acs.test"):
                    await attacker.write(written(sender, to))
            for to in recipients:
                await attacker.write(written(f"a@{ONE}/x", to))
        await both_unhurt(siege, attacker)


async def test_what_grows_when_it_is_returned(siege: Siege) -> None:
    """Servers return what they refuse, with six bytes for a quotation mark and a namespace on each element."""
    contents = [
        f"""<q xmlns='urn:q'>{'"' * 500_000}</q>""",
        f"""<q xmlns='urn:q' a="{"'" * 500_000}"/>""",
        f"<q xmlns='urn:q' xmlns:p='urn:{'p' * 200}'>{'<p:a/>' * 9_000}</q>",
        f"<q xmlns='urn:q'>{'<a/>' * 120_000}</q>",
    ]
    async with siege.partner() as attacker:
        for number, content in enumerate(contents):
            await attacker.write(stanza("iq", ONE, NOBODY, content, type_="get", id=f"large-{number}"))
            answer = await with_id(attacker, f"large-{number}")
            assert answer.get("type") == "error"
        await both_unhurt(siege, attacker)


async def test_a_stanza_may_be_as_large_as_the_limit(siege: Siege) -> None:
    """The local server takes what the relay takes; one byte more ends the partner's stream, and nothing else."""
    async with siege.partner() as attacker:
        for size in (LARGEST - 1, LARGEST):
            begin, _, end = stanza("iq", ONE, HOST, "<q xmlns='urn:q'>|</q>", type_="get", id="f").partition("|")
            await attacker.write(begin, "x" * (size - len(begin) - len(end)), end)
            assert (await attacker.next("iq")).get("id") == "f"
        await both_unhurt(siege, attacker)
        await attacker.write(begin, "x" * (LARGEST + 1 - len(begin) - len(end)), end)
        assert await attacker.ended() == "policy-violation"
    siege.unhurt()


async def test_what_a_local_user_writes(siege: Siege) -> None:
    """It is told what does not fit, and neither the attachment nor the partner's stream ends."""
    odd = [
        "<a xmlns='urn:a'>" * 150 + "</a>" * 150,
        "<x xmlns='{urn:x'/>",
        "<x xmlns='urn:x y'/>",
        "<x" + "".join(f" a{number}='1'" for number in range(150)) + "/>",
        f"<body>{'&quot;' * 40_000}</body>",
        f"<body>{'&apos;' * 40_000}</body>",
        f"<x xmlns='urn:x'>{'<y/>' * 50_000}</x>",
        "<xml:x/>",
        "<x xmlns='urn:x' xml:odd='1'/>",
    ]
    async with online(siege.sandbox, "acs1", "odd") as ours, siege.partner() as partner:
        for number, content in enumerate(odd):
            await ours.send_raw(f"<message to='somebody@{ONE}/x' id='odd-{number}'>{content}</message>")
        for id in ("odd-0", "odd-1", "odd-3", "odd-7"):
            assert (await has(ours, id)).get("type") == "error"
        await ours.send_raw(f"<message to='somebody@{ONE}/x' id='last'/>")
        await with_id(partner, "last")
        assert {element.get("id") for element in partner.seen} >= {"odd-2", "odd-4"}
        await both_unhurt(siege, partner)
