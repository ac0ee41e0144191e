"""Reading and writing Annex K connection requests."""

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from component.base import ns
from component.base.connreq import PAYLOAD, Credentials, MalformedRequest, parse, serialise

XMLNS = f"xmlns='{ns.CONNECTION_REQUEST}'"


def iq(content: str) -> ET.Element:
    return ET.fromstring(f"<iq xmlns='{ns.COMPONENT}' type='get' id='1'>{content}</iq>")


@pytest.mark.parametrize(
    "content",
    [
        f"<connectionRequest {XMLNS}><username>u</username><password>p</password></connectionRequest>",
        f"<connectionRequest {XMLNS}><password>p</password><username>u</username></connectionRequest>",
        f"\n <connectionRequest {XMLNS}>\n <username>u</username>\n\t<password>p</password> </connectionRequest>\n",
        f"<connectionRequest {XMLNS} a='b'><username x='y'>u</username><password>p</password></connectionRequest>",
        f"<a:connectionRequest xmlns:a='{ns.CONNECTION_REQUEST}'><a:username>u</a:username>"
        "<a:password>p</a:password></a:connectionRequest>",
    ],
)
def test_order_white_space_and_attributes_are_mended(content: str) -> None:
    assert parse(iq(content)) == ("u", "p")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "<connectionRequest><username>u</username><password>p</password></connectionRequest>",
        f"<connectionRequest {XMLNS}/>",
        f"<connectionRequest {XMLNS}><username>u</username></connectionRequest>",
        f"<connectionRequest {XMLNS}><username>u</username><username>u</username></connectionRequest>",
        f"<connectionRequest {XMLNS}><username>u</username><password>p</password><password>p</password>"
        "</connectionRequest>",
        f"<connectionRequest {XMLNS}><username>u</username><password>p</password><extra/></connectionRequest>",
        f"<connectionRequest {XMLNS}><username>u<b/></username><password>p</password></connectionRequest>",
        f"<connectionRequest {XMLNS}><username>u</username><password>p</password></connectionRequest><x/>",
        f"<connectionRequest {XMLNS}><username>u</username><password>p</password></connectionRequest>"
        f"<connectionRequest {XMLNS}><username>u</username><password>p</password></connectionRequest>",
        f"<wrap><connectionRequest {XMLNS}><username>u</username><password>p</password></connectionRequest></wrap>",
        f"<connectionRequest {XMLNS}>hello<username>u</username><password>p</password></connectionRequest>",
        f"<connectionRequest {XMLNS}><username>u</username>x<password>p</password></connectionRequest>",
        f"<connectionRequest {XMLNS}><username>u</username><password>p</password></connectionRequest> y",
        f"<connectionRequest {XMLNS}><username xmlns='urn:x'>u</username><password>p</password></connectionRequest>",
    ],
)
def test_anything_else_is_malformed(content: str) -> None:
    with pytest.raises(MalformedRequest):
        parse(iq(content))


# What XML 1.0 cannot carry cannot be asked for either; the parser turns \r into \n.
TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), max_size=40)


@given(TEXT, TEXT)
def test_the_normal_form_carries_every_text_exactly(username: str, password: str) -> None:
    written = serialise(Credentials(username, password))
    assert parse(iq(written)) == (username, password)
    payload = ET.fromstring(written)
    assert payload.tag == PAYLOAD
    assert not payload.attrib and payload.text is None
    assert [child.tag.partition("}")[2] for child in payload] == ["username", "password"]
    assert all(child.tail is None and not child.attrib for child in payload)


def test_credentials_do_not_show_themselves() -> None:
    secret = Credentials("alice", "hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"
