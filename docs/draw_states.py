"""Draws states.md from the tables of component/relay/wire/states.py. Started by script/states."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from inspect import cleandoc
from pathlib import Path

from component.relay.wire import states
from component.relay.wire.states import INCOMING, OUTGOING, Input, State, Table

PAGE = Path(__file__).with_name("states.md")
BEGINS = (State.HEADER, State.TLS)
BEGINS_WORDS = "A stream begins in `HEADER`, and one with direct TLS (XEP-0368) in `TLS`."
MACHINES = {
    "The receiver: incoming streams": INCOMING,
    "The initiator: outgoing streams": OUTGOING,
}


def page() -> str:
    """The whole page."""
    parts = [
        "# States of a server-to-server stream",
        "Drawn by `script/states` from `component/relay/wire/states.py`; a test fails when this page is stale.",
        theory(),
        *(part for title, table in MACHINES.items() for part in machine(title, table)),
        "## What must not happen",
        "What a peer does without there being a step for it ends the stream with a stream error (RFC 6120 §4.9.3):",
        violations(),
    ]
    return "\n\n".join(parts) + "\n"


def theory() -> str:
    """What the module says of itself, as Markdown."""
    lines = cleandoc(states.__doc__ or "").replace("``", "`").splitlines()
    result: list[str] = []
    for line in lines:
        if line and set(line) == {"="}:
            result[-1] = f"## {result[-1]}"
        else:
            result.append(line)
    return "\n".join(result)


def violations() -> str:
    """Which stream error an input gets that has no step."""
    named = [(each.value, f"`{condition}`") for each, condition in states.VIOLATIONS.items()]
    other = next(each for each in Input if each not in states.VIOLATIONS)
    return rows(("input", "stream error"), [*named, ("anything else", f"`{states.violation(other)}`")])


def machine(title: str, table: Table) -> list[str]:
    """Diagram and table of one machine."""
    used = reachable(table)
    steps = {step: after for step, after in table.items() if step[0] in used}
    ends = everywhere(steps, used)
    own = {step: after for step, after in steps.items() if step[1] not in ends}
    drawn_once = "; ".join(f"“{each.value}” leads to `{after.name}`" for each, after in ends.items())
    listed = [
        (f"`{before.name}`", before.value, ", ".join(each.value for each in inputs), f"`{after.name}`")
        for (before, after), inputs in merged(own).items()
    ]
    return [
        f"## {title}",
        f"{BEGINS_WORDS}\nDrawn for `OPEN` only, from every state: {drawn_once}.",
        diagram(own, used, ends),
        rows(("state", "in words", "input", "next state"), listed),
    ]


def reachable(table: Table) -> list[State]:
    """The states that a stream can come to, in the order of the enumeration."""
    found = {state for state in BEGINS if any(before is state for before, _ in table)}
    todo = list(found)
    while todo:
        here = todo.pop()
        further = {after for (before, _), after in table.items() if before is here} - found
        found |= further
        todo += further
    return [state for state in State if state in found]


def everywhere(steps: Table, used: Iterable[State]) -> dict[Input, State]:
    """Inputs that lead to the same state from every one that a stream can leave."""
    left = {before for before, _ in steps}
    result: dict[Input, State] = {}
    for each in Input:
        after = {steps.get((state, each)) for state in used if state in left}
        if len(after) == 1 and (only := after.pop()) is not None:
            result[each] = only
    return result


def merged(steps: Table) -> dict[tuple[State, State], list[Input]]:
    """The inputs that lead from one state to another, in the order of the enumerations."""
    result: dict[tuple[State, State], list[Input]] = {}
    order = {each: place for place, each in enumerate([*State, *Input])}
    for (before, each), after in sorted(steps.items(), key=lambda item: (order[item[0][0]], order[item[0][1]])):
        result.setdefault((before, after), []).append(each)
    return result


def diagram(own: Table, used: Iterable[State], ends: dict[Input, State]) -> str:
    """A state diagram in Mermaid."""
    lines = ["stateDiagram-v2"]
    lines += [f'    state "{state.name} ({state.value})" as {state.name}' for state in used]
    lines += [f"    [*] --> {state.name}" for state in BEGINS if state in used]
    lines += [
        f"    {before.name} --> {after.name}: {', '.join(each.value for each in inputs)}"
        for (before, after), inputs in merged(own).items()
    ]
    left = {before for before, _ in own}
    for state in dict.fromkeys(ends.values()):  # so that the ends hang together; the sentence above tells the rest
        lines.append(
            f"    {State.OPEN.name} --> {state.name}: {', '.join(e.value for e in ends if ends[e] is state)}"
        )
    lines += [f"    {state.name} --> [*]" for state in used if state not in left]
    return "```mermaid\n" + "\n".join(lines) + "\n```"


def rows(head: tuple[str, ...], body: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(line) + " |" for line in (head, *body)]
    lines.insert(1, "|" + "---|" * len(head))
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Write the page; with ``--check`` only say whether it is as it would be drawn."""
    if arguments == ["--check"]:
        stale = not PAGE.exists() or PAGE.read_text() != page()
        if stale:
            print("docs/states.md is stale: run script/states.", file=sys.stderr)
        return int(stale)
    if arguments:
        print("usage: script/states [--check]", file=sys.stderr)
        return 2
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
