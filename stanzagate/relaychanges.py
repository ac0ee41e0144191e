"""What a change of the configuration means for what the relay has: which streams and attachments hold no more."""

from __future__ import annotations

from component.relay.net.certs import PeerCertificate, Trust
from component.relay.peers import Peer
from component.relay.settings import RelaySettings
from stanzagate.relaymaterial import Material


def attachment_of(domain: str, material: Material) -> tuple[object, ...]:
    """What the attachment of a partner depends on."""
    return material.settings.partners[domain].component_port, material.partner_secrets[domain]


def outdated(peer: Peer, before: RelaySettings, after: RelaySettings, trust: Trust) -> bool:
    """Whether a stream was negotiated under what does not hold any more.

    :param trust: whom to trust from now on.
    """
    stream = peer.stream
    pairs = stream.sends | stream.receives
    remotes = {pair.remote for pair in pairs} | ({stream.remote} - {""})
    locals_ = {pair.local for pair in pairs} | ({stream.local} - {""})
    identity = stream.identity
    return (
        not locals_ <= after.domains.keys()
        or any(_negotiated(before, name) != _negotiated(after, name) for name in remotes)
        or (isinstance(identity, PeerCertificate) and any(_distrusted(identity, name, trust) for name in remotes))
    )


def _negotiated(settings: RelaySettings, domain: str) -> object:
    """What a stream with a partner depends on."""
    partner = settings.partners.get(domain)
    return partner and (partner.policy(domain), partner.connect, partner.direct_tls, partner.trust)


def _distrusted(identity: PeerCertificate, domain: str, trust: Trust) -> bool:
    """Whether a certificate does not prove a domain any more: others are trusted now, or it has expired."""
    return not identity.refusal(domain) and bool(trust.identify(identity.chain).refusal(domain))
