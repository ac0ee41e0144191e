"""Accounts of the grid host, made and ended by service administration (XEP-0133), the same on both servers.

Each command is one request: both servers take the form together with ``action='complete'``, which is twice as fast
as fetching the form first; a server that insists on that gets its way. What the servers' notes say is for people, so
it is never read: whether something has come about is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from secrets import token_urlsafe
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

from component.base.errors import NotFound, StanzaError, StanzagateError
from component.base.jid import prepare_often
from component.base.link import Link
from component.base.ns import POLICY
from component.base.stanzas import quote
from grid import ns
from grid.dataplane.asking import ANSWER_SECONDS, Asker
from grid.dataplane.pubsub import Misconfigured

ENDING_PAUSE = 0.1
ENDING_LOOKS = 70
"""Seconds between looks whether sessions have ended, and how many looks. Prosody closes the stream, and then waits
five seconds for a client that does not close it, too."""

_COMMAND = f"{{{ns.COMMANDS}}}command"
_NOTE = f"{{{ns.COMMANDS}}}note"
_FIELD = f"{{{ns.DATA}}}field"
_VALUE = f"{{{ns.DATA}}}value"
_NOT_ALLOWED = frozenset({"forbidden", "not-allowed", "not-authorized"})
_UNKNOWN = frozenset({"service-unavailable", "feature-not-implemented"})


class Users:
    """The accounts of one host.

    Every method raises `Unreachable`, `NoAnswer`, and `Misconfigured` when the server does not let the controller
    administer accounts. Nothing that is raised or logged contains a password.

    :param link: asks; its JID must be an administrator of the host.
    :param host: the grid host.
    :param timeout: seconds that a request may take.
    :param password: makes passwords that nobody knows, for nodes that have certificates.
    """

    def __init__(
        self,
        link: Link,
        host: str,
        *,
        timeout: float = ANSWER_SECONDS,
        password: Callable[[], str] = lambda: token_urlsafe(24),
    ) -> None:
        self.host = host
        self._link = link
        self._asker = Asker(link, timeout)
        self._password = password

    def covers(self, jid: str) -> bool:
        """Whether a bare JID has its account here; those of federated domains have not."""
        prepared = prepare_often(jid)
        return prepared.domain == self.host and bool(prepared.local)

    async def add(self, jid: str, password: str = "") -> bool:
        """Make an account. One that is there stays as it is, with its password.

        :param password: empty for a random one that nobody knows.
        :returns: whether it was made; False when it was there.
        :raises StanzagateError: it could not be made.
        """
        secret = password or self._password()
        try:
            answer = await self._run(
                "add-user", accountjid=(jid,), password=(secret,), **{"password-verify": (secret,)}
            )
        except StanzaError as error:
            if error.info.condition == "conflict":
                return False
            raise self._mapped(error) from None
        if not _refused(answer):
            return True
        if await self._missing(jid):
            raise StanzagateError(f"The server has not made the account {jid}.", hint="Look into its log.")
        if not await self._make(jid):
            return False
        if password:
            await self.set_password(jid, password)
        return True

    async def _make(self, jid: str) -> bool:
        """Have the in-server plugin make an account that the server says is there: Prosody takes a session for one,
        and who has a certificate needs no account for that. Without a plugin the server is believed.
        """
        payload = f"<account xmlns='{POLICY}' jid='{quote(jid)}'/>"
        try:
            answer = await self._asker.iq(self.host, payload, "set")
        except StanzaError:
            return False
        made = answer.find(f"{{{POLICY}}}account")
        return made is not None and made.get("made") == "true"

    async def set_password(self, jid: str, password: str = "") -> None:
        """Change a password.

        :param password: empty for a random one that nobody knows.
        :raises NotFound: there is no such account.
        """
        try:
            answer = await self._run(
                "change-user-password", accountjid=(jid,), password=(password or self._password(),)
            )
        except StanzaError as error:
            if error.info.condition == "item-not-found":
                raise NotFound(f"There is no account {jid}.") from None
            raise self._mapped(error) from None
        if _refused(answer):
            raise NotFound(f"The server has no account {jid}, or does not change its password.")

    async def delete(self, jid: str) -> None:
        """Delete an account, its sessions and what is stored for it; it is verified that it has gone.

        :raises StanzagateError: it is still there.
        """
        for _ in range(2):  # ejabberd tells only the second time that there is none, Prosody when it is asked
            try:
                await self._run("delete-user", accountjids=(jid,))
            except StanzaError as error:
                if error.info.condition == "item-not-found":
                    return
                raise self._mapped(error) from None
            if await self._missing(jid):
                return
        raise StanzagateError(f"The server has not deleted the account {jid}.", hint="Look into its log.")

    async def sessions(self, jid: str) -> set[str]:
        """The resources with which an account is connected; none where there is no such account."""
        try:
            answer = await self._run("user-stats", accountjid=(jid,))
        except StanzaError as error:
            if error.info.condition == "item-not-found":
                return set()
            raise self._mapped(error) from None
        fields = (field for field in answer.iter(_FIELD) if field.get("var") == "onlineresources")
        lines = (line for field in fields for value in field.iter(_VALUE) for line in (value.text or "").splitlines())
        return {line.strip() for line in lines} - {""}

    async def end_sessions(self, jid: str) -> None:
        """End all sessions of an account, and wait until they have ended: at once where the client plays along.

        :raises StanzagateError: they have not.
        """
        told: set[str] = set()
        for _ in range(ENDING_LOOKS):
            there = await self.sessions(jid)
            if not there:
                return
            if there - told:
                await self._end_sessions(jid)
                told |= there
            else:
                await asyncio.sleep(ENDING_PAUSE)
        raise StanzagateError(f"The server has not ended the sessions of {jid}.", hint="Look into its log.")

    async def _end_sessions(self, jid: str) -> None:
        try:
            # Prosody takes the plural only, ejabberd the singular only.
            await self._run("end-user-session", accountjid=(jid,), accountjids=(jid,))
        except StanzaError as error:
            if error.info.condition != "item-not-found":
                raise self._mapped(error) from None

    async def _missing(self, jid: str) -> bool:
        """Whether the server says that there is no such account; ejabberd has figures for everybody."""
        try:
            return _refused(await self._run("user-stats", accountjid=(jid,)))
        except StanzaError as error:
            if error.info.condition == "item-not-found":
                return True
            raise self._mapped(error) from None

    async def _run(self, command: str, **fields: Sequence[str]) -> Element:
        form = _form(fields)
        answer = await self._execute(command, " action='complete'", form)
        found = answer.find(_COMMAND)
        if found is not None and found.get("status") == "executing":
            session = f" action='complete' sessionid='{quote(found.get('sessionid', ''))}'"
            answer = await self._execute(command, session, form)
        return answer

    async def _execute(self, command: str, attributes: str, form: str) -> Element:
        payload = f"<command xmlns='{ns.COMMANDS}' node='{ns.ADMIN}#{command}'{attributes}>{form}</command>"
        return await self._asker.iq(self.host, payload, "set")

    def _mapped(self, error: StanzaError) -> StanzagateError:
        if error.info.condition in _NOT_ALLOWED:
            return Misconfigured(
                f"{self.host} does not let {self._link.jid} administer accounts ({error}).",
                hint=f"Prosody: admins = {{ '{self._link.jid}' }} on that host. ejabberd: the access rule "
                f"'configure' must allow the server {self._link.jid}.",
            )
        if error.info.condition in _UNKNOWN:
            return Misconfigured(
                f"{self.host} knows no administration commands ({error}).",
                hint="Prosody: mod_admin_adhoc. ejabberd: mod_configure and mod_adhoc.",
            )
        return error


def _refused(answer: Element) -> bool:
    """Whether a command was completed with a note that it did not do what it should."""
    return any(note.get("type") == "error" for note in answer.iter(_NOTE))


def _form(fields: dict[str, Sequence[str]]) -> str:
    written = "".join(
        f"<field var='{name}'>{''.join(f'<value>{escape(value)}</value>' for value in values)}</field>"
        for name, values in fields.items()
    )
    return (
        f"<x xmlns='{ns.DATA}' type='submit'>"
        f"<field var='FORM_TYPE' type='hidden'><value>{ns.ADMIN}</value></field>{written}</x>"
    )
