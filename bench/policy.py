"""How fast and how large the policy is: run it as ``python -m bench.policy [--devices N]``.

Each part runs in a fresh process, so that one does not pay for another: the import from CSV, the load from SQLite
with decisions and resident memory, and the same decisions by the baseline: a plain dictionary of sets, as one would
write it in ten lines. Prints one JSON line for each figure and a table at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from component.base.jid import Jid

GROUPS, RULES, REQUESTERS = 1_000, 10_000, 2_000
SAMPLES = 200_000


def main() -> int:
    """Run all parts and print what they measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=1_000_000)
    parser.add_argument("--part", choices=sorted(PARTS), help="one part, in this process (used internally)")
    parser.add_argument("--dir", type=Path, help="where the database lies (used internally)")
    options = parser.parse_args()
    if options.part:
        print(json.dumps(PARTS[options.part](options.dir, options.devices)))
        return 0
    figures: dict[str, Any] = {"devices": options.devices, "machine": machine()}
    with tempfile.TemporaryDirectory() as folder:
        for part in ("baseline", "import", "load"):
            command = [sys.executable, "-m", "bench.policy", "--part", part, "--dir", folder]
            done = subprocess.run(
                [*command, "--devices", str(options.devices)], check=True, stdout=subprocess.PIPE, text=True
            )
            measured = json.loads(done.stdout)
            print(json.dumps({"part": part, **measured}), flush=True)
            figures[part] = measured
    print(table(figures))
    return 0


def machine() -> str:
    """The processor and the interpreter."""
    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def device(number: int) -> tuple[str, str, str]:
    """Id, full JID and groups of a device; a third of them are in two groups."""
    group = f"g{number * 7919 % GROUPS}"
    groups = f"{group};g{number % 31}" if number % 3 == 0 and group != f"g{number % 31}" else group
    return f"00256D-{number:08d}", f"cpe{number:08d}@cpe.test/tr069", groups


def csv_pieces(count: int) -> Iterator[bytes]:
    """The registry as CSV."""
    yield b"id,jid,cr_username,cr_password,groups\n"
    for start in range(0, count, 1000):
        lines = []
        for number in range(start, min(start + 1000, count)):
            name, jid, groups = device(number)
            lines.append(f"{name},{jid},user{number},password{number},{groups}\n")
        yield "".join(lines).encode()


def rules(count: int) -> Iterator[tuple[str, str, str]]:
    """Effect, requester and target of 10,000 rules: 80 % for groups, 10 % denials, 10 % for single devices."""
    chance = random.Random(1)
    seen = set()
    while len(seen) < RULES:
        requester = f"acs{len(seen) % REQUESTERS}@acs.test"
        kind = chance.randrange(10)
        target = f"group:g{chance.randrange(GROUPS)}" if kind else device(chance.randrange(count))[0]
        rule = ("deny" if kind == 1 else "allow", requester, target)
        if rule not in seen:
            seen.add(rule)
            yield rule


def rules_text(count: int) -> str:
    """The rules as CSV."""
    lines = [f"{effect},{who},{target},," for effect, who, target in rules(count)]
    return "\n".join(["effect,requester,target,expires,comment", *lines, ""])


def questions(count: int) -> list[tuple[Jid, str]]:
    """Who asks for which bare JID, prepared: half of it is for groups that rules name, a quarter is by strangers."""
    chance = random.Random(2)
    named = [(who, int(target[7:])) for _, who, target in rules(count) if target.startswith("group:")]
    step = pow(7919, -1, GROUPS)  # `device` the other way round
    asked = []
    for turn in range(SAMPLES):
        who, group = chance.choice(named)
        number = group * step % GROUPS + GROUPS * chance.randrange(count // GROUPS) if count >= GROUPS else 0
        if turn % 4 == 2:
            number = chance.randrange(count)
        elif turn % 4 == 3:
            who = f"stranger{turn}@acs.test"
        asked.append((Jid(who, f"r{chance.randrange(5)}"), device(number)[1].partition("/")[0]))
    return asked


def timed(decide: Callable[[Jid, str], object], asked: list[tuple[Jid, str]]) -> dict[str, float]:
    """Microseconds for one decision: percentiles, without what it costs to take the time, and the mean in a loop."""
    for requester, bare in asked[:20_000]:
        decide(requester, bare)
    clock = time.perf_counter_ns
    gc.disable()
    empty = sorted(-(clock() - clock()) for _ in range(20_000))[10_000]
    spent = []
    for requester, bare in asked:
        start = clock()
        decide(requester, bare)
        spent.append(clock() - start - empty)
    start = clock()
    for requester, bare in asked:
        decide(requester, bare)
    mean = (clock() - start) / len(asked)
    gc.enable()
    spent.sort()
    return {
        "p50_us": spent[len(spent) // 2] / 1000,
        "p99_us": spent[len(spent) * 99 // 100] / 1000,
        "mean_us": mean / 1000,
    }


def resident() -> float:
    """Resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def peak() -> float:
    """The largest that resident memory has been, in MB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def baseline(_: Path, count: int) -> dict[str, Any]:
    """A dictionary of devices and sets of targets."""
    before = resident()
    by_jid = {}
    for number in range(count):
        name, jid, groups = device(number)
        bare, _, resource = jid.partition("/")
        by_jid[bare] = (name, resource, frozenset(groups.split(";")))
    allow: dict[str, set[str]] = {}
    deny: dict[str, set[str]] = {}
    for effect, who, target in rules(count):
        (allow if effect == "allow" else deny).setdefault(who, set()).add(target)

    def decide(requester: Jid, bare: str) -> bool:
        found = by_jid.get(bare)
        if found is None:
            return False
        keys = [found[0], *(f"group:{group}" for group in found[2]), "all"]
        if any(key in deny.get(requester.bare, ()) for key in keys):
            return False
        return any(key in allow.get(requester.bare, ()) for key in keys)

    asked = questions(count)
    rss = resident()
    return {"rss_mb": rss, "data_mb": rss - before, **timed(decide, asked), **allowed(decide, asked)}


def allowed(decide: Callable[[Jid, str], bool], asked: list[tuple[Jid, str]]) -> dict[str, Any]:
    """How many are allowed: both implementations must agree."""
    return {"allowed": sum(decide(requester, bare) for requester, bare in asked)}


def import_part(folder: Path, count: int) -> dict[str, Any]:
    """Import the CSV and the rules, and watch the event loop meanwhile."""
    source = folder / "devices.csv"
    with source.open("wb") as file:
        for piece in csv_pieces(count):
            file.write(piece)
    return asyncio.run(_import(folder, source, rules_text(count)))


async def _import(folder: Path, source: Path, text: str) -> dict[str, Any]:
    result: dict[str, Any] = {}
    async with asyncio.TaskGroup() as group:
        policy, devices, close = _services(folder, group)
        await policy.load()
        late: list[float] = []
        waits: list[float] = []
        watch = group.create_task(_watch(late))
        other = group.create_task(_suspend(policy, waits))
        start = time.perf_counter()
        with source.open("rb") as file:
            await devices.import_csv("bench", file)
        result["import_s"] = time.perf_counter() - start
        watch.cancel()
        other.cancel()
        late.sort()
        waits.sort()
        result |= {"loop_late_p50_ms": late[len(late) // 2], "loop_late_p99_ms": late[len(late) * 99 // 100]}
        result |= {
            "loop_late_max_ms": late[-1],
            "suspend_p50_ms": waits[len(waits) // 2],
            "suspend_max_ms": waits[-1],
        }
        start = time.perf_counter()
        await policy.import_rules("bench", text)
        result["rules_s"] = time.perf_counter() - start
        start = time.perf_counter()
        change = await policy.suspend("bench", "acs1@acs.test", dry_run=True)
        result |= {"dry_run_ms": (time.perf_counter() - start) * 1000, "dry_run_loses": change.loses[0].devices}
        result["peak_mb"] = peak()
        close()
    return result


async def _watch(late: list[float]) -> None:
    """How much later than asked for the event loop comes back, in milliseconds."""
    while True:
        start = time.perf_counter()
        await asyncio.sleep(0.001)
        late.append((time.perf_counter() - start - 0.001) * 1000)


async def _suspend(policy: Any, waits: list[float]) -> None:
    """How long a suspension takes that comes while an import is under way, in milliseconds."""
    while True:
        for change in (policy.suspend, policy.resume):
            start = time.perf_counter()
            await change("bench", "rogue@acs.test")
            waits.append((time.perf_counter() - start) * 1000)
            await asyncio.sleep(0.1)


def load_part(folder: Path, count: int) -> dict[str, Any]:
    """Load everything, then decide."""
    return asyncio.run(_load(folder, count))


async def _load(folder: Path, count: int) -> dict[str, Any]:
    async with asyncio.TaskGroup() as group:
        policy, _, close = _services(folder, group)
        before = resident()
        start = time.perf_counter()
        await policy.load()
        result: dict[str, Any] = {"load_s": time.perf_counter() - start}
        gc.collect()
        rss = resident()
        result |= {"rss_mb": rss, "data_mb": rss - before, "peak_mb": peak()}
        index, now = policy.index, time.time()

        def decide(requester: Jid, bare: str) -> bool:
            return index.decide(requester, index.by_jid(bare), now).allowed

        asked = questions(count)
        result |= {**timed(decide, asked), **allowed(decide, asked)}
        numbers = {bare: index.by_jid(bare) for _, bare in asked}
        result["known_device"] = timed(lambda who, bare: index.decide(who, numbers[bare], now), asked)
        close()
    return result


def _services(folder: Path, group: asyncio.TaskGroup) -> tuple[Any, Any, Callable[[], None]]:
    # Only here: the baseline's process must not pay for them.
    from component.base.audit import Audit, AuditKey  # noqa: PLC0415
    from component.base.secrets import Vault  # noqa: PLC0415
    from component.base.store import Store, metadata  # noqa: PLC0415
    from component.gate.devices import Devices  # noqa: PLC0415
    from component.gate.policy import Policy  # noqa: PLC0415

    def spawn(name: str, coroutine: Coroutine[Any, Any, None]) -> object:
        return group.create_task(coroutine, name=name)

    store = Store("sqlite:///bench.db", folder)
    audit = Audit(store, AuditKey.open(folder / "audit.key", create=True), folder / "audit.head")
    vault = Vault.open(folder / "credentials.key", create=True)
    store.write_now(metadata.create_all)
    policy = Policy(store, audit, spawn=spawn)
    return policy, Devices(policy, vault), store.close


PARTS: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "baseline": baseline,
    "import": import_part,
    "load": load_part,
}


def table(figures: dict[str, Any]) -> str:
    """The figures for people."""
    base, imported, loaded = figures["baseline"], figures["import"], figures["load"]
    rows = [
        _compared("decision p50", "us", ".2f", loaded, base, "p50_us", "3 us"),
        _compared("decision p99", "us", ".2f", loaded, base, "p99_us", ""),
        _compared("resident memory", "MB", ".0f", loaded, base, "rss_mb", "400 MB"),
        _compared("of it data", "MB", ".0f", loaded, base, "data_mb", ""),
        ("load from SQLite", f"{loaded['load_s']:.1f} s", "", "", "10 s"),
        ("import of CSV", f"{imported['import_s']:.1f} s", "", "", "60 s"),
        ("loop late p99", f"{imported['loop_late_p99_ms']:.1f} ms", "", "", ""),
        ("loop late max", f"{imported['loop_late_max_ms']:.0f} ms", "", "", ""),
        ("suspension max", f"{imported['suspend_max_ms']:.0f} ms", "", "", ""),
        ("dry run", f"{imported['dry_run_ms']:.0f} ms", "", "", ""),
    ]
    agree = "agree" if base["allowed"] == loaded["allowed"] else "DISAGREE"
    lines = [
        f"Policy with {figures['devices']:,} devices, {GROUPS:,} groups, {RULES:,} rules on {figures['machine']}"
    ]
    lines += [f"{'':20}{'index':>14}{'dict of sets':>14}{'ratio':>8}{'at most':>10}"]
    lines += [f"{name:20}{ours:>14}{theirs:>14}{ratio:>8}{limit:>10}" for name, ours, theirs, ratio, limit in rows]
    return "\n".join([*lines, f"Both {agree} on {SAMPLES:,} decisions ({loaded['allowed']:,} allowed)."])


def _compared(
    name: str, unit: str, form: str, ours: dict[str, Any], theirs: dict[str, Any], key: str, limit: str
) -> tuple[str, str, str, str, str]:
    one, other = ours[key], theirs[key]
    return name, f"{one:{form}} {unit}", f"{other:{form}} {unit}", f"{one / other:.2f}", limit


if __name__ == "__main__":
    sys.exit(main())
