"""Dialback keys (XEP-0185), and the ledger that makes an answer worth something (XEP-0220)."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from component.relay.wire.dialback import Ask, Asker, Kind, Ledger, key, matches

VECTOR = "37c69b1cf07a3f67c04a5ef5902fa5114f2c76fe4a2686482ba5b89323075643"
LOCAL, REMOTE = "isp.test", "partner.test"


def result(since: float = 0.0, *, local: str = LOCAL, remote: str = REMOTE, asker: Asker = Asker.WE) -> Ask:
    return Ask(Kind.RESULT, local, remote, "", since, asker)


def verify(since: float = 0.0, ident: str = "s1", asker: Asker = Asker.WE) -> Ask:
    return Ask(Kind.VERIFY, LOCAL, REMOTE, ident, since, asker)


# -- keys ------------------------------------------------------------------------------------------------------------


def test_the_vector_of_xep_0185() -> None:
    assert key("s3cr3tf0rd14lb4ck", "xmpp.example.com", "example.org", "D60000229F") == VECTOR


@pytest.mark.parametrize(
    ("secret", "target", "sender", "stream_id", "expected"),
    [
        (
            "s3cr3tf0rd14lb4ck", "montague.example", "capulet.example", "D60000229F",
            "b4835385f37fe2895af6c196b59097b16862406db80559900d96bf6fa7d23df3",
        ),
        (
            "d14lb4ck43v3r", "capulet.example", "montague.example", "417GAF25",
            "225cc5aa6a071133249d25fef42ae516fc7a86c523aa1c6980a7f73e784c972d",
        ),
    ],
)  # fmt: skip
def test_the_keys_of_xep_0220(secret: str, target: str, sender: str, stream_id: str, expected: str) -> None:
    assert key(secret, target, sender, stream_id) == expected


def test_the_order_of_the_arguments_is_target_sender_stream() -> None:
    inner = hashlib.sha256(b"secret").hexdigest().encode()
    assert (
        key("secret", "to.test", "from.test", "id") == hmac.new(inner, b"to.test from.test id", "sha256").hexdigest()
    )
    assert key("secret", "to.test", "from.test", "id") != key("secret", "from.test", "to.test", "id")


def test_names_beyond_ascii_count_as_utf_8() -> None:
    inner = hashlib.sha256("gehëim".encode()).hexdigest().encode()
    expected = hmac.new(inner, "bücher.test straße.test ü".encode(), "sha256").hexdigest()
    assert key("gehëim", "bücher.test", "straße.test", "ü") == expected


@pytest.mark.parametrize("around", ["{}", "\n  {}\n", " {} ", "\t{}\r\n"])
def test_white_space_around_a_key_does_not_count(around: str) -> None:
    assert matches(VECTOR, around.format(VECTOR))


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        VECTOR[:-1],
        VECTOR + "0",
        "0" + VECTOR[1:],
        VECTOR[:-1] + "4",
        VECTOR.upper(),
        VECTOR + "é",
        VECTOR[:32] + " " + VECTOR[32:],
        "\u00a0" + VECTOR,
        "\ud800" + VECTOR,
    ],
)
def test_everything_else_counts(wrong: str) -> None:
    assert not matches(VECTOR, wrong)


def test_keys_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(left: bytes, right: bytes) -> bool:
        compared.append((left, right))
        return False

    monkeypatch.setattr("component.relay.wire.dialback.hmac.compare_digest", compare)
    assert not matches(VECTOR, VECTOR)  # so nothing but that function decides
    assert compared == [(VECTOR.encode(), VECTOR.encode())]


# -- the ledger ------------------------------------------------------------------------------------------------------


def test_an_answer_takes_its_question_once() -> None:
    ledger = Ledger()
    assert ledger.expect(result(1.0), 1.0)
    assert ledger.take(Kind.RESULT, REMOTE, LOCAL, "", 2.0) == result(1.0)
    assert ledger.take(Kind.RESULT, REMOTE, LOCAL, "", 2.0) is None
    assert len(ledger) == 0


@pytest.mark.parametrize(
    ("kind", "from_", "to", "ident", "asker"),
    [
        (Kind.RESULT, REMOTE, LOCAL, "s1", Asker.WE),
        (Kind.VERIFY, LOCAL, REMOTE, "s1", Asker.WE),
        (Kind.VERIFY, "other.test", LOCAL, "s1", Asker.WE),
        (Kind.VERIFY, REMOTE, "other.test", "s1", Asker.WE),
        (Kind.VERIFY, REMOTE, LOCAL, "s2", Asker.WE),
        (Kind.VERIFY, REMOTE, LOCAL, "", Asker.WE),
        (Kind.VERIFY, REMOTE, LOCAL, "s1", Asker.PEER),
        (Kind.VERIFY, LOCAL, REMOTE, "s1", Asker.PEER),
    ],
)
def test_an_answer_that_differs_in_anything_takes_nothing(
    kind: Kind, from_: str, to: str, ident: str, asker: Asker
) -> None:
    ledger = Ledger()
    ledger.expect(verify(), 0.0)
    assert ledger.take(kind, from_, to, ident, 1.0, asker) is None
    assert ledger.take(Kind.VERIFY, REMOTE, LOCAL, "s1", 1.0) == verify()


def test_every_stream_has_its_own() -> None:
    asked, other = Ledger(), Ledger()
    asked.expect(result(), 0.0)
    assert other.take(Kind.RESULT, REMOTE, LOCAL, "", 1.0) is None


def test_an_unsolicited_answer_takes_nothing() -> None:
    assert Ledger().take(Kind.RESULT, REMOTE, LOCAL, "", 0.0) is None


def test_the_two_directions_of_a_pair_are_kept_apart() -> None:
    ledger = Ledger()
    assert ledger.expect(result(), 0.0)
    assert ledger.expect(result(asker=Asker.PEER), 0.0)  # under bidi both may ask at once
    ours = ledger.take(Kind.RESULT, LOCAL, REMOTE, "", 1.0, Asker.PEER)  # what we answer
    assert ours is not None and (ours.asking, ours.asked) == (REMOTE, LOCAL)
    theirs = ledger.take(Kind.RESULT, REMOTE, LOCAL, "", 1.0)  # what we get
    assert theirs is not None and (theirs.asking, theirs.asked) == (LOCAL, REMOTE)


def test_the_id_of_an_answered_result_is_not_looked_at() -> None:
    ledger = Ledger()
    ledger.expect(replace(result(), id="ignored"), 0.0)
    assert ledger.take(Kind.RESULT, REMOTE, LOCAL, "anything", 0.0) is not None


def test_the_same_question_is_open_once() -> None:
    ledger = Ledger()
    assert ledger.expect(result(0.0), 0.0)
    assert not ledger.expect(result(1.0), 1.0)
    assert [ask.since for ask in ledger] == [0.0]


def test_an_answer_that_comes_too_late_takes_nothing() -> None:
    ledger = Ledger(timeout=30.0)
    ledger.expect(result(10.0), 10.0)
    assert ledger.deadline == 40.0
    assert ledger.take(Kind.RESULT, REMOTE, LOCAL, "", 40.0) is None
    assert ledger.expired(39.9) == []
    assert ledger.expired(40.0) == [result(10.0)]
    assert ledger.expired(40.0) == [] and ledger.deadline is None


def test_a_question_may_be_asked_again_when_its_time_is_over() -> None:
    ledger = Ledger(timeout=30.0)
    ledger.expect(result(0.0), 0.0)
    assert ledger.expect(result(30.0), 30.0)
    assert ledger.take(Kind.RESULT, REMOTE, LOCAL, "", 31.0) == result(30.0)


def test_only_so_many_questions_are_open() -> None:
    ledger = Ledger(limit=3)
    assert [ledger.expect(verify(ident=str(number)), 0.0) for number in range(5)] == [True, True, True, False, False]
    assert len(ledger) == 3
    assert ledger.take(Kind.VERIFY, REMOTE, LOCAL, "1", 0.0) is not None
    assert ledger.expect(verify(ident="4"), 0.0)


def test_the_oldest_question_expires_first() -> None:
    ledger = Ledger(timeout=30.0)
    for since in (5.0, 3.0, 9.0):
        ledger.expect(verify(since, str(since)), since)
    assert ledger.deadline == 33.0
    assert [ask.since for ask in ledger.expired(36.0)] == [5.0, 3.0]
    assert ledger.deadline == 39.0


def test_the_end_of_a_stream_leaves_nothing_open() -> None:
    ledger = Ledger()
    ledger.expect(result(), 0.0)
    ledger.expect(verify(), 0.0)
    assert ledger.drain() == [result(), verify()]
    assert len(ledger) == 0 and ledger.drain() == []


ASKS = st.builds(
    Ask, st.sampled_from(Kind), st.sampled_from(["a.test", "b.test"]), st.sampled_from(["x.test", "y.test"]),
    st.sampled_from(["", "1", "2"]), st.just(0.0), st.sampled_from(Asker),
)  # fmt: skip


@given(st.lists(ASKS, max_size=40))
def test_whatever_was_noted_is_taken_exactly_once(asks: list[Ask]) -> None:
    ledger = Ledger(limit=8)
    noted = [ask for ask in asks if ledger.expect(ask, 0.0)]
    assert len(noted) == len(ledger) <= 8
    for ask in noted:
        assert ledger.take(ask.kind, ask.asked, ask.asking, ask.id, 1.0, ask.asker) == ask
        assert ledger.take(ask.kind, ask.asked, ask.asking, ask.id, 1.0, ask.asker) is None
    assert len(ledger) == 0
