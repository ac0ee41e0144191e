"""Who is approved at once when it registers, and into which group (draft-ietf-mile-xmpp-grid-01 §2.4.2)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from grid.binding import Verified
from grid.settings import Approval, AutoApproval, GridSettings

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Approved:
    """A node may come in.

    :ivar why: what has approved it, for the audit record.
    :ivar group: the group that it is put into, or empty.
    """

    why: str
    group: str = ""


class Approvals:
    """The rules of the configuration. The first of `auto_approve` that covers a node counts."""

    def __init__(self, settings: GridSettings) -> None:
        self._automatic = settings.approval is Approval.AUTOMATIC
        self._rules = tuple(settings.auto_approve)

    def decide(self, jid: str, certificate: Verified | None) -> Approved | None:
        """Whether a node is approved at once; None when it has to wait for an administrator.

        :param certificate: what it has authenticated with, already found good for that name.
        """
        for number, rule in enumerate(self._rules, start=1):
            if rule.covers(jid) and _issued_by(rule, certificate):
                return Approved(f"auto_approve {number}", rule.group)
        return Approved("approval: automatic") if self._automatic else None


def _issued_by(rule: AutoApproval, certificate: Verified | None) -> bool:
    """Whether the authority that a rule names has issued a certificate.

    A fingerprint says exactly which authority that is. A subject can be taken by anybody, so it counts only for
    authorities that the node CA vouches for.
    """
    if not rule.issuer:
        return True
    if certificate is None or certificate.issuer is None:
        return False
    fingerprint = rule.issuer.replace(":", "").lower()
    if _FINGERPRINT.fullmatch(fingerprint):
        return certificate.issuer.fingerprint(SHA256()).hex() == fingerprint
    return certificate.trusted and certificate.issuer.subject == x509.Name.from_rfc4514_string(rule.issuer)
