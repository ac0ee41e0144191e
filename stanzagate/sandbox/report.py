"""``sandbox.json``: what a user of the sandbox needs to know (contract, section 3)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from stanzagate.sandbox.accounts import Account
from stanzagate.sandbox.plan import CONTROLLER, GATE, PUBSUB, Plan


def report(plan: Plan, version: str, *, served: bool) -> dict[str, Any]:
    """The content of the file; parts that do not run are ``None``.

    :param version: what the server says about itself.
    :param served: whether ``stanzagate serve`` runs.
    """
    layout, accounts = plan.layout, plan.accounts
    cpe, acs, grid = plan.domains
    admin = {"socket": str(layout.socket), "url": f"http://{plan.admin}", "token": accounts.token}
    return {
        "server": str(plan.kind),
        "version": version,
        "ca": str(layout.ca),
        "node_ca": str(layout.node_ca),
        "c2s": asdict(plan.c2s),
        "s2s": asdict(plan.s2s),
        "domains": {
            "cpe": cpe,
            "acs": acs,
            "gate": GATE,
            "grid": grid,
            "controller": CONTROLLER if served else None,
            "pubsub": PUBSUB,
        },
        "admin": admin if served else None,
        "acs": [asdict(account) for account in accounts.acs],
        "rogue": asdict(accounts.rogue),
        "cpes": [asdict(device) for device in accounts.devices],
        "nodes": [_node(plan, account) for account in accounts.nodes],
    }


def _node(plan: Plan, account: Account) -> dict[str, str]:
    stem = plan.layout.nodes / account.jid.partition("@")[0]
    return asdict(account) | {"cert": str(stem.with_suffix(".crt")), "key": str(stem.with_suffix(".key"))}
