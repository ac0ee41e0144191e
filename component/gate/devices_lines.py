"""The lines of a file of devices: checked, compared and put into a copy of the table."""

from __future__ import annotations

import hashlib
import time
from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from component.base.errors import InputError
from component.gate.badlines import BadLines
from component.gate.credentials import check_credentials
from component.gate.devices_read import COLUMNS
from component.gate.lines import CsvReader
from component.gate.rules import device_jid, device_key, group_name
from component.gate.table import GROUP_SEPARATOR, DeviceRow, DeviceTable, joined

if TYPE_CHECKING:
    from component.gate.devices import Devices

BREATH_LINES = 64
BREATH_SECONDS = 0.0001
"""After so many lines the thread lets go of the interpreter, so that a decision does not wait for its time slice."""

REMEMBERED_GROUPS = 10_000

Row = dict[str, Any]
"""A row of the table of devices, without its generation."""


class DeviceLines:
    """Checks the lines of a file and puts its devices into a copy of the table. One thread at a time uses it.

    :ivar table: the copy.
    :ivar common: so many numbers were in use when it was made.
    :ivar added: how many devices are new.
    :ivar replaced: how many were there before.
    :ivar changed: whether a device is another one afterwards, as far as the file has been compared.
    """

    def __init__(self, devices: Devices, table: DeviceTable) -> None:
        self.table = table
        self.bad = BadLines()
        self.added = self.replaced = 0
        self.changed = False
        self.common = len(table.ids)
        self._devices = devices
        self._reader = CsvReader(COLUMNS, self.bad)
        self._line_of = array("I", bytes(4 * self.common))  # which line has set a device; 0 for none
        self._taken: list[tuple[int, int, str]] = []  # line, number of the device that had its JID, that JID
        self._groups: dict[str, str] = {}
        self._digest = hashlib.sha256()

    @property
    def line(self) -> int:
        """The number of the line that was read last."""
        return self._reader.line

    @property
    def digest(self) -> str:
        """SHA-256 of everything that was read, in hexadecimal."""
        return self._digest.hexdigest()

    def feed(self, data: bytes, last: bool) -> list[Row]:
        """The rows for the lines that are complete now; bad ones are noted."""
        self._digest.update(data)
        rows: list[Row] = []
        for count, (line, fields) in enumerate(self._reader.feed(data, last=last)):
            row = self._row(line, fields)
            if row is not None:
                rows.append(row)
            if count % BREATH_LINES == BREATH_LINES - 1:
                time.sleep(BREATH_SECONDS)
        return rows

    def finish(self) -> None:
        """Look at what only the whole file can tell."""
        for line, holder, bare in self._taken:
            if not self._line_of[holder]:
                reason = f"it is the JID of device {self.table.id(holder)}"
                self.bad.add(line, "jid", bare, reason, "it is the JID of another device")
        if not self.bad:
            for strings in (self.table.ids, self.table.jids):
                if strings.wasteful:
                    strings.compact()

    def has(self, key: str) -> bool:
        """Whether the file has a device with this prepared id."""
        number = self.table.ids.find(key)
        return number >= 0 and self._line_of[number] > 0

    def _row(self, line: int, fields: list[str]) -> Row | None:
        device_id, jid_text, username, password, groups_text = fields
        before = self.bad.problems
        device_id = device_id.strip()
        key = self._checked(line, "id", device_id, device_key)
        jid = self._checked(line, "jid", jid_text.strip(), device_jid)
        groups = self._groups.get(groups_text)
        if groups is None:
            groups = self._checked(line, "groups", groups_text, self._joined)
        if len(username) + len(password):
            self._checked(line, "", "", lambda _: check_credentials(username, password))
        if key is None or jid is None or groups is None or self.bad.problems > before:
            return None
        row = DeviceRow(key, device_id, jid.bare, jid.resource, groups)
        if not self._put(line, row):
            return None
        return {
            "key": key,
            "id": device_id,
            "bare": jid.bare,
            "resource": jid.resource,
            "groups": groups,
            "credentials": self._devices.sealed(key, username, password),
        }

    def _put(self, line: int, row: DeviceRow) -> bool:
        ids, jids, line_of = self.table.ids, self.table.jids, self._line_of
        number, holder = ids.find(row.key), jids.find(row.bare)
        known = number >= 0
        if known and line_of[number]:
            other = self.table.id(number)
            same = "" if other == row.id else f", which is {other} there"
            reason = f"line {line_of[number]} has the same id{same}"
            self.bad.add(line, "id", row.id, reason, "another line has the same id")
            return False
        if holder >= 0 and holder != number:
            if line_of[holder]:
                reason = f"line {line_of[holder]} has the same bare JID"
                self.bad.add(line, "jid", row.bare, reason, "another line has the same bare JID")
                return False
            self._taken.append((line, holder, row.bare))
        self.changed = self.changed or not known or self._devices.row_in(self.table, number) != row
        number = self.table.put(row, (number, holder))
        if known:
            self.replaced += 1
            line_of[number] = line
        else:
            self.added += 1
            line_of.append(line)
        return True

    def _checked(self, line: int, column: str, value: str, check: Callable[[str], Any]) -> Any:
        try:
            return check(value)
        except InputError as error:
            self.bad.add(line, column, value, str(error))
            return None

    def _joined(self, text: str) -> str:
        names = [part.strip() for part in text.split(GROUP_SEPARATOR)]
        groups = joined(group_name(name) for name in names) if names != [""] else ""
        if len(self._groups) < REMEMBERED_GROUPS:
            self._groups[text] = groups
        return groups
