"""Server dialback (XEP-0220): the keys, and the ledger of what was asked.

A key proves that who sends it is, or knows, the authoritative server of the sender's domain, because only that server
can make it or tell that it is right. An answer proves something only when it was asked for: a forged "valid" that
nobody waits for would let an attacker speak for any domain (XEP-0220 §3.1). So each stream keeps a `Ledger` of the
questions that are open on it, and an answer that takes nothing out of it is dropped.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

_WHITE_SPACE = " \t\r\n"


def key(secret: str, target: str, sender: str, stream_id: str) -> str:
    """A dialback key (XEP-0185 §2): HMAC-SHA256 over ``target sender stream_id``.

    The order of the arguments is that of the standard: the domain that shall take the stanzas comes first, then the
    domain that wants to send them. The HMAC's key is the hexadecimal text of the secret's SHA-256, not its bytes.

    :param secret: known to every process that answers for `sender`, and to nobody else.
    :param target: domain of the receiving server, prepared.
    :param sender: domain of the initiating (and authoritative) server, prepared.
    :param stream_id: of the stream on which the key is sent, as the receiving server gave it.
    :return: 64 hexadecimal digits in lower case.
    """
    digest = hashlib.sha256(secret.encode()).hexdigest()
    return hmac.new(digest.encode(), f"{target} {sender} {stream_id}".encode(), hashlib.sha256).hexdigest()


def matches(expected: str, given: str) -> bool:
    """Whether a key that came over the wire is the expected one, without telling by time how far it is.

    White space around it does not count: the standard's own examples break the lines.
    """
    return hmac.compare_digest(expected.encode(), given.strip(_WHITE_SPACE).encode(errors="replace"))


class Kind(StrEnum):
    """The two questions of dialback; each is named as its element."""

    RESULT = "result"
    """May I send? (XEP-0220 §2.1.1)"""
    VERIFY = "verify"
    """Is this key yours? (XEP-0220 §2.1.2)"""


class Asker(StrEnum):
    """The direction of a question: who waits for the answer."""

    WE = "we"
    PEER = "peer"


@dataclass(frozen=True, slots=True)
class Ask:
    """An open question.

    :ivar local: the domain on our side, prepared.
    :ivar remote: the domain on the peer's side, prepared.
    :ivar id: of a verify: the stream that the key was sent on, as in the element. A result has none.
    :ivar since: when it was asked, in seconds.
    :ivar asker: who asked, we or the peer.
    """

    kind: Kind
    local: str
    remote: str
    id: str
    since: float
    asker: Asker = Asker.WE

    @property
    def asking(self) -> str:
        """The domain that the question comes from, and the answer goes to."""
        return self.local if self.asker is Asker.WE else self.remote

    @property
    def asked(self) -> str:
        """The domain that the question goes to, and the answer comes from."""
        return self.remote if self.asker is Asker.WE else self.local


_Key = tuple[Asker, Kind, str, str, str]


class Ledger:
    """The questions that are open on one stream, in both directions.

    There is one for each stream, and a new one after a restart, so that an answer on another stream finds nothing
    (XEP-0220 §2.1.1: "correlate to a request that was sent over the same XML stream").

    :param timeout: seconds that an answer may take.
    :param limit: how many questions may be open at once, so that a peer cannot fill the memory.
    """

    def __init__(self, timeout: float = 30.0, limit: int = 100) -> None:
        self._timeout = timeout
        self._limit = limit
        self._open: dict[_Key, Ask] = {}

    def expect(self, ask: Ask, now: float) -> bool:
        """Note a question that is being asked.

        :return: False, and nothing is noted, when the same question is open already or too many are.
        """
        entry = _key(ask.asker, ask.kind, ask.asking, ask.asked, ask.id)
        known = self._open.get(entry)
        if known is not None and not self._over(known, now):
            return False
        if known is None and len(self._open) >= self._limit:
            return False
        self._open.pop(entry, None)
        self._open[entry] = ask
        return True

    def take(
        self, kind: Kind, from_: str, to: str, id: str, now: float, asker: Asker = Asker.WE
    ) -> Ask | None:  # fmt: skip
        """The question that an answer belongs to; it is taken out, so the same answer finds nothing again.

        :param from_: of the answer: the domain that was asked, prepared.
        :param to: of the answer: the domain that asked, prepared.
        :param id: of the answer; not looked at for a result.
        :param asker: who waits for the answer. The default is for answers from the peer; `Asker.PEER` is for those
            that we are about to give.
        :return: None when there is no such question, or its time is over.
        """
        entry = _key(asker, kind, to, from_, id)
        ask = self._open.get(entry)
        if ask is None or self._over(ask, now):
            return None
        del self._open[entry]
        return ask

    def expired(self, now: float) -> list[Ask]:
        """The questions whose time is over; they are taken out. Each counts as failed (XEP-0220 §2.1.1)."""
        over = [(entry, ask) for entry, ask in self._open.items() if self._over(ask, now)]
        for entry, _ in over:
            del self._open[entry]
        return [ask for _, ask in over]

    def drain(self) -> list[Ask]:
        """All open questions, taken out: the stream has ended, and they count as failed (XEP-0220 §2.1.2)."""
        asks = list(self._open.values())
        self._open.clear()
        return asks

    @property
    def deadline(self) -> float | None:
        """When the oldest question expires, in seconds; None when none is open."""
        since = min((ask.since for ask in self._open.values()), default=None)
        return None if since is None else since + self._timeout

    def _over(self, ask: Ask, now: float) -> bool:
        return now >= ask.since + self._timeout

    def __iter__(self) -> Iterator[Ask]:
        return iter(list(self._open.values()))

    def __len__(self) -> int:
        return len(self._open)


def _key(asker: Asker, kind: Kind, asking: str, asked: str, ident: str) -> _Key:
    return asker, kind, asking, asked, "" if kind is Kind.RESULT else ident
