"""What the relay works with: its configuration, and everything that is read because the configuration names it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from component.relay.net.certs import Anchors
from component.relay.net.tls import KeyPair, TlsContexts
from component.relay.settings import RelaySettings
from stanzagate.config import load_relay, read_secret, secrets_of

DIALBACK_BYTES = 32


@dataclass(frozen=True, repr=False)
class Material:
    """All of it, read at one moment.

    :ivar partner_secrets: of the attachments, by partner.
    :ivar dialback_secret: that of the configuration, else one that was drawn.
    :ivar token: of the admin API, when it is asked over TCP.
    :ivar contexts: the certificates and keys of the local domains.
    :ivar trust: who is believed about partners.
    :ivar partner_trust: likewise for partners that have authorities of their own.
    """

    settings: RelaySettings
    partner_secrets: Mapping[str, str]
    dialback_secret: str
    token: str | None
    contexts: TlsContexts
    trust: Anchors
    partner_trust: Mapping[str, Anchors]

    def after(self, earlier: Material) -> Material:
        """The same with what cannot change while the relay runs: a dialback key that is under way must stay good."""
        return replace(self, dialback_secret=earlier.dialback_secret)


def load_material(path: Path) -> Material:
    """Read a configuration and all that it names.

    :raises ConfigError: something is missing, cannot be read, or does not fit.
    """
    settings = load_relay(path)
    found = {key: read_secret(path, key, secret) for key, secret in secrets_of(None, settings)}
    return Material(
        settings=settings,
        partner_secrets={name: found["relay", "partners", name, "secret"] for name in settings.partners},
        dialback_secret=found.get(("relay", "dialback_secret")) or secrets.token_hex(DIALBACK_BYTES),
        token=found.get(("relay", "policy", "token")),
        contexts=TlsContexts({name: KeyPair(one.certificate, one.key) for name, one in settings.domains.items()}),
        trust=Anchors.load(settings.trust),
        partner_trust={
            name: Anchors.load(partner.trust)
            for name, partner in settings.partners.items()
            if partner.trust is not None
        },
    )
