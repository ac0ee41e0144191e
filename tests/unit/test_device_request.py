"""What the reference device makes of a stanza, of its list and of its limit."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from component.base.errors import InputError
from component.base.jid import prepare
from component.base.settings import UNLIMITED, parse_rate
from stanzagate.sandbox.device.allowed import AllowedList
from stanzagate.sandbox.device.limit import Bucket
from stanzagate.sandbox.device.quirks import Quirk, parse_quirks
from stanzagate.sandbox.device.request import Credentials, Reading, Reply, answer, in_normal_form, read
from stanzagate.sandbox.device.settings import Retry

NS = "urn:broadband-forum-org:cwmp:xmppConnReq-1-0"
GOOD = f"<connectionRequest xmlns='{NS}'><username>u</username><password>p</password></connectionRequest>"


def iq(payload: str, type: str = "get") -> ET.Element:
    return ET.fromstring(f"<iq xmlns='jabber:client' type='{type}' id='1' from='a@b/c'>{payload}</iq>")


def inside(content: str) -> str:
    return f"<connectionRequest xmlns='{NS}'>{content}</connectionRequest>"


def test_a_request_is_read() -> None:
    assert read(iq(GOOD)) == (Reading.REQUEST, Credentials("u", "p"))
    assert in_normal_form(iq(GOOD))


@pytest.mark.parametrize("type", ["result", "error"])
def test_results_and_errors_are_never_requests(type: str) -> None:
    assert read(iq(GOOD, type))[0] is Reading.IGNORED
    assert read(iq(GOOD, type), any_type=True)[0] is Reading.REQUEST


@pytest.mark.parametrize("payload", ["", "<query xmlns='urn:x'/>", GOOD.replace("1-0", "2-0"), f"<a>{GOOD}</a>"])
def test_other_methods_are_unsupported(payload: str) -> None:
    assert read(iq(payload))[0] is Reading.UNSUPPORTED


def test_a_set_is_unsupported() -> None:
    assert read(iq(GOOD, "set"))[0] is Reading.UNSUPPORTED


@pytest.mark.parametrize(
    "payload",
    [
        GOOD + GOOD,
        GOOD + "<x/>",
        inside(""),
        inside("<username>u</username>"),
        inside("<password>p</password><username>u</username>"),
        inside("<username>u</username><username>u</username><password>p</password>"),
        inside("<username>u</username><password>p</password><extra/>"),
        inside("<username>u</username>text<password>p</password>"),
        inside("<username a='b'>u</username><password>p</password>"),
        inside("<username>u<b/></username><password>p</password>"),
        inside("<username xmlns='urn:x'>u</username><password>p</password>"),
        GOOD.replace("<connectionRequest", "<connectionRequest a='b'"),
        inside(GOOD),
    ],
)
def test_what_the_schema_does_not_allow_is_malformed(payload: str) -> None:
    assert read(iq(payload))[0] is Reading.MALFORMED
    assert not in_normal_form(iq(payload))


@pytest.mark.parametrize(
    "payload",
    [
        f" {GOOD}",
        f"{GOOD}\n",
        inside(" <username>u</username><password>p</password>"),
        inside("<username>u</username>\n<password>p</password>"),
        inside("<username>u</username><password>p</password> "),
    ],
)
def test_white_space_changes_nothing_but_is_noticed(payload: str) -> None:
    assert read(iq(payload)) == (Reading.REQUEST, Credentials("u", "p"))
    assert not in_normal_form(iq(payload))


def test_credentials_do_not_show_the_password() -> None:
    assert "secret" not in repr(Credentials("u", "secret"))


def test_empty_credentials_are_read_as_empty() -> None:
    assert read(iq(inside("<username/><password/>"))) == (Reading.REQUEST, Credentials("", ""))


def test_a_result_is_empty() -> None:
    stanza = ET.fromstring(answer(iq(GOOD), Reply.RESULT, id="i"))
    assert (stanza.get("type"), stanza.get("to"), stanza.get("id"), len(stanza)) == ("result", "a@b/c", "i", 0)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")))
def test_an_error_echoes_the_payload(text: str) -> None:
    request = iq(GOOD)
    request[0][0].text = text
    request.set("from", f"a@b/{text}")
    stanza = ET.fromstring(answer(request, Reply.REFUSED, id=text))
    assert ET.tostring(stanza[0]) == ET.tostring(request[0])
    assert (stanza[1].get("code"), stanza[1].get("type")) == ("503", "cancel")
    assert (stanza.get("id"), stanza.get("to")) == (text, f"a@b/{text}")


def test_the_list_matches_bare_entries_with_every_resource_and_full_entries_exactly() -> None:
    allowed = AllowedList.parse("a@acs.test,b@acs.test/only")
    let_in = ["a@acs.test/x", "A@ACS.test/y", "b@acs.test/only"]
    kept_out = [
        "a@acs.test.evil/x",
        "aa@acs.test/x",
        "b@acs.test/onlyX",
        "b@acs.test/Only",
        "b@acs.test/x",
        "c@acs.test",
    ]
    assert all(allowed.allows(prepare(jid)) for jid in let_in)
    assert not any(allowed.allows(prepare(jid)) for jid in kept_out)
    assert allowed.begins(prepare("a@acs.test.evil/x")) and allowed.begins(prepare("b@acs.test/onlyX"))
    assert str(allowed) == "a@acs.test,b@acs.test/only"


def test_an_empty_list_allows_everyone() -> None:
    assert AllowedList.parse("").allows(prepare("anybody@any.test/x"))


def test_a_list_has_limits() -> None:
    assert len(AllowedList.of([f"a{n}@acs.test" for n in range(32)]).entries) == 32
    with pytest.raises(InputError, match="33 entries"):
        AllowedList.of([f"a{n}@acs.test" for n in range(33)])
    assert AllowedList.of(["a@b/" + "r" * 252])
    with pytest.raises(InputError, match="257 characters"):
        AllowedList.of(["a@b/" + "r" * 253])


@pytest.mark.parametrize("value", ["a@b, c@d", "a@b,", "acs.test", "@acs.test", "a@b@c@"])
def test_what_is_no_entry_is_refused(value: str) -> None:
    with pytest.raises(InputError, match="not an entry"):
        AllowedList.parse(value)


def test_quirks_are_named() -> None:
    assert parse_quirks(["misspelt", "foreign-id"]) == Quirk.MISSPELT | Quirk.FOREIGN_ID
    assert parse_quirks([]) == Quirk.NONE
    with pytest.raises(InputError, match="'mispelt' is not a quirk") as caught:
        parse_quirks(["mispelt"])
    assert "crash-on-whitespace" in caught.value.hint


def test_the_limit_refills() -> None:
    now = 0.0
    bucket = Bucket(parse_rate("4/min"), lambda: now)
    assert [bucket.take() for _ in range(5)] == [True] * 4 + [False]
    now = 15.0
    assert [bucket.take() for _ in range(2)] == [True, False]
    assert all(Bucket(UNLIMITED, lambda: now).take() for _ in range(1000))


def test_waits_are_random_and_grow_up_to_a_limit() -> None:
    retry = Retry(initial=10, multiplier=2000, maximum=50)
    spans = [retry.wait(n, lambda low, high: (low, high)) for n in (1, 2, 3, 4, 500)]  # type: ignore[arg-type,return-value]
    assert spans == [(0, 10), (10, 20), (20, 40), (25, 50), (25, 50)]
