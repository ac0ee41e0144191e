"""Many files are replaced as one: after a crash at any moment there is the old state, or the new one.

A journal in the folder of the configuration says what is going on. The configuration is replaced last, and that is
the moment from which the new state counts: `recover` undoes what had not come so far. What is replaced stays beside
the new files under another name.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from component.base.errors import StanzagateError
from component.base.files import sync_folder, write_atomic

JOURNAL = ".stanzagate-restore.json"


def put_in_place(moves: Mapping[Path, Path], aside: Mapping[Path, Path], folder: Path, suffix: str) -> None:
    """Move files to where they belong.

    :param moves: the new place of each staged file, on the same file system; the configuration is the last.
    :param aside: files that must be gone afterwards, with the names under which they are kept.
    :param folder: that of the journal.
    :param suffix: what is appended to the names of what is replaced; see `free_suffix`.
    :raises OSError: when that is not possible; the old state is there again.
    """
    last, configuration = list(moves.items())[-1]
    kept = dict(aside) | {path: kept_as(path, suffix) for path in moves.values() if os.path.lexists(path)}
    steps = [[str(path), str(kept[path]) if path in kept else None] for path in (*aside, *moves.values())]
    record = {"configuration": str(configuration), "inode": last.stat().st_ino, "steps": steps}
    write_atomic(folder / JOURNAL, json.dumps(record).encode())
    try:
        for path, name in aside.items():
            path.rename(name)
        for staged, path in moves.items():
            _own_like(staged, path)
            if path in kept:
                _second_name(path, kept[path])
            if path == configuration:  # everything else is on disk before that
                _sync(moves.values())
            staged.replace(path)
        _sync(moves.values())
    except BaseException:
        recover(folder)
        raise
    (folder / JOURNAL).unlink()
    sync_folder(folder)


def free_suffix(suffix: str, paths: Sequence[Path]) -> str:
    """The suffix, or one with a number, under which nothing is kept yet."""
    candidate, number = suffix, 1
    while any(os.path.lexists(kept_as(path, candidate)) for path in paths):
        number += 1
        candidate = f"{suffix}-{number}"
    return candidate


def kept_as(path: Path, suffix: str) -> Path:
    """The name under which a replaced file is kept."""
    return path.with_name(path.name + suffix)


def recover(folder: Path) -> None:
    """After an interruption: bring back the old state, unless the new one was complete. Call it under the lock.

    It can be interrupted itself, and run again.

    :raises StanzagateError: when the old files cannot be put back by this user.
    """
    journal = folder / JOURNAL
    try:
        if not journal.exists():
            return
        record: dict[str, Any] = json.loads(journal.read_bytes())
        if not _is_file(Path(record["configuration"]), record["inode"]):
            for name, kept in reversed(record["steps"]):
                _undo(Path(name), Path(kept) if kept else None)
            _sync(Path(name) for name, _ in record["steps"])
        journal.unlink()
        sync_folder(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StanzagateError(
            f"A restore of {folder} was interrupted, and the old files cannot be put back: {error}.",
            hint="Run `stanzagate backup restore` again as the user who ran it before: it puts them back first.",
        ) from None


def _is_file(path: Path, inode: int) -> bool:
    return os.path.lexists(path) and path.lstat().st_ino == inode


def _undo(path: Path, kept: Path | None) -> None:
    if kept is None:
        path.unlink(missing_ok=True)
    elif os.path.lexists(kept):
        if os.path.lexists(path) and os.path.samestat(path.lstat(), kept.lstat()):
            kept.unlink()  # renaming one name of a file to another of the same file does nothing
        else:
            kept.rename(path)


def _second_name(path: Path, kept: Path) -> None:
    """Keep a file under a second name; the first one is there at every moment."""
    try:
        os.link(path, kept, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        part = kept.with_name(f".{kept.name}")
        shutil.copy2(path, part, follow_symlinks=False)
        part.rename(kept)


def _own_like(staged: Path, path: Path) -> None:
    """Let a file that root made belong to whom the old one, or else its folder, belongs."""
    if os.geteuid() == 0:
        owner = path.lstat() if os.path.lexists(path) else path.parent.stat()
        os.chown(staged, owner.st_uid, owner.st_gid)


def _sync(paths: Iterable[Path]) -> None:
    for folder in {path.parent for path in paths}:
        if folder.is_dir():
            sync_folder(folder)
