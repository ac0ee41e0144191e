"""Every change that was acknowledged is there after kill -9 at a random moment."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

from sqlalchemy import func, select

from component.base.audit import Audit, AuditKey, verify
from component.base.audit_chain import audit_head_table, audit_table
from component.base.store import Store, metadata

ROUNDS = 20
WRITER = """
import asyncio, itertools, sys
from pathlib import Path
from component.base.audit import Audit, AuditKey
from component.base.store import Store

async def main(folder, name):
    store = Store("sqlite:///gate.db", folder)
    audit = Audit(store, AuditKey.open(folder / "audit.key"), folder / "audit.head")
    for number in itertools.count():
        subject = f"{name}-{number}"
        audit.wake(actor="a@x", requester="a@x", device=subject, outcome="accepted", rule="1", elapsed_ms=1)
        await asyncio.gather(
            audit.flush(),
            store.write(lambda c: audit.append(c, actor="x", action="rule.added", subject=subject, detail={})),
        )
        print(subject, flush=True)

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


def test_acknowledged_changes_survive_kill(tmp_path: Path) -> None:
    store = Store("sqlite:///gate.db", tmp_path)
    store.write_now(lambda c: metadata.create_all(c, [audit_table, audit_head_table]))
    key = AuditKey.open(tmp_path / "audit.key", create=True)
    chance = random.Random(20)
    acknowledged: set[str] = set()
    for number in range(ROUNDS):
        acknowledged |= killed_writer(tmp_path, f"round{number}", chance)
    assert len(acknowledged) >= ROUNDS
    for action in ("rule.added", "wake.accepted"):
        present = store.read_now(
            lambda c, a=action: c.scalars(select(audit_table.c.subject).where(audit_table.c.action == a)).all()  # type: ignore[misc]
        )
        assert acknowledged <= set(present)
        assert len(present) == len(set(present))
    assert verify(store, key.public, tmp_path / "audit.head").problems == ()
    audit = Audit(store, key, tmp_path / "audit.head")
    store.write_now(lambda c: audit.append(c, actor="x", action="rule.added", subject="last", detail={}))
    result = verify(store, key.public, tmp_path / "audit.head")
    assert result.ok
    assert result.rows == store.read_now(lambda c: c.scalar(select(func.count()).select_from(audit_table)))
    store.close()


def killed_writer(folder: Path, name: str, chance: random.Random) -> set[str]:
    """Let a process write, kill it at a random moment, and return what it said was done."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), name],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    told = {process.stdout.readline().strip()}  # it is under way
    try:
        process.wait(chance.uniform(0, 0.15))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    rest = process.stdout.read()  # a line that was cut short was not acknowledged
    told |= set(rest[: rest.rfind("\n") + 1].split())
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    return told
