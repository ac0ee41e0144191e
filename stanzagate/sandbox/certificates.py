"""The two authorities of a sandbox and everything they sign."""

from __future__ import annotations

from datetime import timedelta

from stanzagate.pki import Authority
from stanzagate.sandbox.accounts import ACS_DOMAIN, CPE_DOMAIN, GRID_DOMAIN
from stanzagate.sandbox.plan import CONTROLLER, GATE, PUBSUB, Layout, Plan

REMAINING = timedelta(days=30)
"""A node's certificate that ends earlier is replaced."""

_NAMES = {
    CPE_DOMAIN: (CPE_DOMAIN, GATE),
    ACS_DOMAIN: (ACS_DOMAIN,),
    GRID_DOMAIN: (GRID_DOMAIN, PUBSUB, CONTROLLER),
}


def authorities(layout: Layout) -> tuple[Authority, Authority]:
    """The server CA and the node CA, made when they are not there yet.

    :raises InputError: when the files of an earlier run are damaged.
    """
    server = Authority.load_or_create(layout.ca, layout.ca.with_suffix(".key"), "Stanzagate sandbox servers")
    node = Authority.load_or_create(
        layout.node_ca, layout.node_ca.with_suffix(".key"), "Stanzagate sandbox nodes", nodes_of=GRID_DOMAIN
    )
    return server, node


def make_certificates(plan: Plan) -> None:
    """Issue every certificate of the servers anew, so that none of an earlier run has expired. Those of nodes stay
    while they are good for some time: a node's name is bound to the certificate that it has registered with.

    :raises InputError: when the CA of an earlier run is damaged.
    """
    layout = plan.layout
    server, node = authorities(layout)
    for domain in plan.domains:
        server.server(_NAMES[domain]).write(
            layout.certificates / f"{domain}.crt", layout.certificates / f"{domain}.key"
        )
    for account in plan.accounts.nodes:
        name = account.jid.partition("@")[0]
        certificate, key = layout.nodes / f"{name}.crt", layout.nodes / f"{name}.key"
        if not (key.exists() and node.is_good(certificate, REMAINING)):
            node.node(account.jid).write(certificate, key)
