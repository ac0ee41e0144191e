"""Making the accounts on the server by XEP-0133, from a component: no password is ever an argument of a process."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape, quoteattr

from component.base.errors import StanzagateError
from stanzagate.sandbox.accounts import Account
from stanzagate.sandbox.wire import Stream, ask

COMMANDS = "http://jabber.org/protocol/commands"
ADMIN = "http://jabber.org/protocol/admin"
FORMS = "jabber:x:data"
VERSION = "jabber:iq:version"


async def seed_accounts(stream: Stream, component: str, accounts: Sequence[Account]) -> None:
    """Make every account; one that exists gets the password that it should have.

    :param stream: attached as `component`, which the server takes for an administrator.
    :raises StanzagateError: when the server refuses an account.
    :raises StreamFailed: when the server went away.
    """
    refused = await _command(stream, component, "add-user", accounts, verify=True)
    if refused:
        refused = await _command(stream, component, "change-user-password", refused, verify=False)
    if refused:
        names = ", ".join(account.jid for account in refused)
        raise StanzagateError(f"The server refused to make {names}.", hint="Look into its log.")


async def server_version(stream: Stream, component: str, domain: str) -> str:
    """What the server says it is (XEP-0092).

    :raises StreamFailed: when the server went away.
    """
    addresses = f"from={quoteattr(component)} to={quoteattr(domain)}"
    request = f"<iq type='get' id='version' {addresses}><query xmlns='{VERSION}'/></iq>"
    answer = (await ask(stream, {"version": request}))["version"]
    return (answer.findtext(f"{{{VERSION}}}query/{{{VERSION}}}version") or "unknown").strip()


async def _command(
    stream: Stream, component: str, node: str, accounts: Sequence[Account], *, verify: bool
) -> list[Account]:
    """Run one ad-hoc command for each account; those that were refused come back."""
    numbered = {f"{node}-{number}": account for number, account in enumerate(accounts)}
    forms = await ask(stream, {key: _iq(key, component, account, node, "", "") for key, account in numbered.items()})
    sessions = {key: _command_of(answer) for key, answer in forms.items()}
    opened = {key: command for key, command in sessions.items() if command is not None}
    done = await ask(
        stream,
        {
            key: _iq(key, component, numbered[key], node, command.get("sessionid", ""), _form(numbered[key], verify))
            for key, command in opened.items()
        },
    )
    return [account for key, account in numbered.items() if not _completed(done.get(key))]


def _iq(key: str, component: str, account: Account, node: str, session: str, form: str) -> str:
    domain = account.jid.rpartition("@")[2]
    attributes = f" sessionid={quoteattr(session)}" if session else " action='execute'"
    return (
        f"<iq type='set' id={quoteattr(key)} from={quoteattr(component)} to={quoteattr(domain)}>"
        f"<command xmlns='{COMMANDS}' node='{ADMIN}#{node}'{attributes}>{form}</command></iq>"
    )


def _form(account: Account, verify: bool) -> str:
    fields = [("accountjid", account.jid), ("password", account.password)]
    if verify:
        fields.append(("password-verify", account.password))
    values = "".join(_field(name, value) for name, value in fields)
    return (
        f"<x xmlns='{FORMS}' type='submit'>{_field('FORM_TYPE', ADMIN, ' type=' + quoteattr('hidden'))}{values}</x>"
    )


def _field(name: str, value: str, extra: str = "") -> str:
    return f"<field var={quoteattr(name)}{extra}><value>{escape(value)}</value></field>"


def _command_of(answer: ET.Element) -> ET.Element | None:
    return answer.find(f"{{{COMMANDS}}}command") if answer.get("type") == "result" else None


def _completed(answer: ET.Element | None) -> bool:
    command = _command_of(answer) if answer is not None else None
    if command is None or command.get("status") != "completed":
        return False
    notes: Iterable[ET.Element] = command.iter(f"{{{COMMANDS}}}note")
    return all(note.get("type") != "error" for note in notes)
