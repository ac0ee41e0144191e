"""Challenges that nodes sign (`grid.proof`): given to a full JID, good once and for a minute."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence

from cryptography import x509

from grid.binding import fingerprint_of
from grid.errors import Refusal, bad_request, resource_constraint
from grid.model import Credential
from grid.proof import is_signed

LIFETIME = 60.0
"""Seconds."""

MOST = 10_000
"""So many may be outstanding; a flood of requests fills no memory."""

LONGEST_CHAIN = 8
PROVED = "proof"
"""Stands for the SASL mechanism of a credential that was proved in this way."""


class Challenges:
    """What was given to whom.

    :param clock: seconds that never go back.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        nonce: Callable[[], str] = lambda: secrets.token_urlsafe(32),
    ) -> None:
        self._clock = clock
        self._nonce = nonce
        self._given: dict[str, tuple[str, float]] = {}  # by full JID, the oldest first

    def give(self, jid: str) -> str:
        """A new challenge for a full JID; it takes the place of one from before.

        :raises Refusal: resource-constraint when too many are outstanding.
        """
        now = self._clock()
        self._given.pop(jid, None)
        while self._given:
            oldest = next(iter(self._given))
            if self._given[oldest][1] > now:
                break
            del self._given[oldest]
        if len(self._given) >= MOST:
            raise resource_constraint("Too many challenges are outstanding.")
        nonce = self._nonce()
        self._given[jid] = (nonce, now + LIFETIME)
        return nonce

    def prove(self, jid: str, chain: Sequence[bytes], signature: bytes) -> Credential:
        """How somebody has authenticated who has signed his challenge.

        :param jid: the full JID that it was given to.
        :param chain: DER, the own certificate first. Whether it is good for the name is not looked at here.
        :raises Refusal: not-authorized when there is no challenge or it is not signed with this certificate's key;
            bad-request when the certificate cannot be read.
        """
        nonce, ends = self._given.pop(jid, ("", 0.0))  # whatever comes of it, it was used
        if not nonce or ends <= self._clock():
            raise Refusal("auth", "not-authorized", "Ask for a challenge first.")
        if not 0 < len(chain) <= LONGEST_CHAIN:
            raise bad_request("The chain has no certificate, or too many.")
        try:
            certificate = x509.load_der_x509_certificate(chain[0])
            signed = is_signed(certificate, signature, nonce, jid)
        except (ValueError, TypeError) as error:
            raise bad_request("The certificate cannot be read.") from error
        if not signed:
            raise Refusal("auth", "not-authorized", "The challenge is not signed with the key of this certificate.")
        return Credential(PROVED, fingerprint_of(chain[0]), tuple(chain))
