"""``stanzagate iodef``: incidents in files. Works without a service."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from component.base.errors import InputError
from stanzagate.cli import files, output, progress
from stanzagate.cli.iodef_layout import wrap
from stanzagate.cli.iodef_source import Form, form_of, read
from stanzagate.cli.options import AsJson

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

    from grid.iodef import Problem

app = output.application()

File = Annotated[str, typer.Argument(metavar="FILE", help="IODEF 2.0 or 1.0 in XML, or RFC 8727 JSON; may be -.")]


HANGING = "    "
"""Before the second line of what a terminal is too narrow for."""


@app.callback()
def _iodef() -> None:
    """Incidents in files: IODEF 2.0 (RFC 7970), IODEF 1.0 (RFC 5070), and IODEF in JSON (RFC 8727)."""


@app.command(epilog="Example:  stanzagate iodef validate incoming/*.xml")
def validate(
    names: Annotated[
        list[str], typer.Argument(metavar="FILE", help="XML or JSON, told apart by content; one may be -.")
    ],
    as_json: AsJson = False,
) -> None:
    """Say whether documents are valid.

    Names the place of every problem. Exits with 0 when all are valid, else with 1. A file that cannot be read is
    not valid, and does not stop the others.
    """
    if names.count(files.STANDARD) > 1:
        raise typer.BadParameter("Standard input, -, can be read only once.")
    results = _Results()
    with progress.reading("validating"):
        found = _counted(((name, _checked(name)) for name in names), results)
        if as_json:
            output.listing(_plain(name, problems) for name, problems in found)
        else:
            for name, problems in found:
                for problem in problems:
                    _name(name, problem)
    if not as_json:
        output.say(_summary(results))
    if results.invalid:
        raise typer.Exit(1)


@dataclasses.dataclass(slots=True)
class _Results:
    """How many files are valid, how many not, how many problems are named, and whether there are others."""

    valid: int = 0
    invalid: int = 0
    problems: int = 0
    more: bool = False


def _counted(
    checked: Iterator[tuple[str, Sequence[Problem]]], results: _Results
) -> Iterator[tuple[str, Sequence[Problem]]]:
    from grid.iodef.errors import MOST  # noqa: PLC0415

    for name, problems in checked:
        results.valid += not problems
        results.invalid += bool(problems)
        results.problems += min(len(problems), MOST)  # beyond these the last one says that there are more
        results.more |= len(problems) > MOST
        yield name, problems


def _checked(name: str) -> Sequence[Problem]:
    """What is wrong with a file; nothing when it is valid."""
    from grid.iodef import Invalid, Problem  # noqa: PLC0415

    try:
        return _problems(_content(name))
    except Invalid as error:
        return error.problems
    except InputError as error:
        sentence = error.message.removeprefix(f"{name} ")
        return [Problem(0, "", f"{sentence[:1].lower()}{sentence[1:].removesuffix('.')}")]


def _content(name: str) -> bytes:
    from grid.iodef import Limits  # noqa: PLC0415

    return read(name, Limits().size)


def _problems(content: bytes) -> Sequence[Problem]:
    from grid import iodef  # noqa: PLC0415

    if form_of(content) is Form.XML:
        tree = iodef.parse(content)
        return _advised(tree.getroot(), iodef.validate(tree, source=content))
    from grid.iodef.json import from_json  # noqa: PLC0415

    from_json(content)
    return []


_LONELY = {"Incident", "report", "inquiry", "request", "response"}
"""What XEP-0268 sends without a document around it."""


def _advised(root: Element, problems: Sequence[Problem]) -> Sequence[Problem]:
    if not problems or str(root.tag).rpartition("}")[2] not in _LONELY:
        return problems
    message = f"{problems[0].message}; to have an Incident checked that stands alone, put it into an IODEF-Document"
    return [dataclasses.replace(problems[0], message=message), *problems[1:]]


def _plain(name: str, problems: Sequence[Problem]) -> dict[str, Any]:
    errors = [{"line": each.line, "path": each.path, "message": each.message} for each in problems]
    return {"file": name, "valid": not problems, "errors": errors}


def _name(name: str, problem: Problem) -> None:
    place = f"{name}:{problem.line}" if problem.line else name
    text = ": ".join(filter(None, (place, problem.path, problem.message)))
    if not sys.stdout.isatty():
        output.say(text)
        return
    indent = ""
    for line in wrap(output.plain(text), shutil.get_terminal_size().columns - len(HANGING)):
        output.say(f"{indent}{line}")
        indent = HANGING


def _summary(results: _Results) -> str:
    files_read = results.valid + results.invalid
    total = f"{files_read} file{'' if files_read == 1 else 's'}"
    if not results.invalid:
        return f"{total}: valid." if files_read == 1 else f"{total}: all valid."
    problems = f"{results.problems} problem{'' if results.problems == 1 else 's'}"
    more = "more than " if results.more else ""
    return f"{total}: {results.valid} valid, {results.invalid} not valid ({more}{problems})."


@app.command(epilog="Example:  stanzagate iodef convert incident.xml -o incident.json")
def convert(
    *,
    name: File,
    to: Annotated[
        Form | None, typer.Option("--to", show_default=False, help="What it becomes; the other form if not said.")
    ] = None,
    out: Annotated[
        str, typer.Option("-o", "--output", metavar="OUT", help="File to write; - is standard output.")
    ] = files.STANDARD,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT when it is there.")] = False,
    lossy: Annotated[
        bool, typer.Option("--lossy", help="Leave out what the other form cannot say, and tell what that is.")
    ] = False,
) -> None:
    """Turn XML into JSON (RFC 8727), or JSON into XML.

    The document must be valid IODEF 2.0. OUT appears when it is whole; only you may read it.
    """
    from stanzagate.cli.iodef_convert import converted  # noqa: PLC0415

    path = Path(out)
    if out != files.STANDARD and path.exists() and not path.is_file():
        raise InputError(f"{out} is not a regular file.", hint="Leave -o away to write to standard output.")
    try:
        result, lost = converted(_content(name), to, lossy=lossy)
    except InputError as error:
        raise _of(name, error) from None
    with files.private_output(out, overwrite=overwrite) as file:
        file.write(output.harmless(result) if out == files.STANDARD and sys.stdout.isatty() else result)
        file.flush()
    if lost:
        output.tell("JSON (RFC 8727) cannot say all of it. Left out or changed:")
    for problem in lost:
        output.tell(f"  {problem}")


@app.command(epilog="Example:  stanzagate iodef show incident.xml | less")
def show(name: File, as_json: AsJson = False) -> None:
    """Show a page of each incident of a document.

    Who reports what, how it may be handed on, what is asked, when, sources and targets, indicators, history. A
    document that is not valid is shown as far as it can be, and the command exits with 1 then.
    """
    from stanzagate.cli.iodef_summary import incidents  # noqa: PLC0415

    element, problems = _document(name)
    found = incidents(element)
    if as_json:
        output.document({
            "file": name, "version": element.get("version") or "", "valid": not problems,
            "incidents": [dataclasses.asdict(each) for each in found],
        })  # fmt: skip
    else:
        _pages(found, [str(problem) for problem in problems])
    if problems:
        output.tell(f"{name} is not valid; `stanzagate iodef validate` names every problem.")
        raise typer.Exit(1)


def _document(name: str) -> tuple[Element, Sequence[Problem]]:
    """The document's element, whatever form it has, and what is wrong with it.

    :raises InputError: it cannot be read, or is no IODEF document at all, or JSON that is not valid.
    """
    from grid import iodef  # noqa: PLC0415

    content = _content(name)
    try:
        if form_of(content) is Form.JSON:
            from grid.iodef.json import from_json  # noqa: PLC0415

            return iodef.write(from_json(content)), []
        tree = iodef.parse(content)
        root = tree.getroot()
        problems = iodef.validate(tree, source=content)
    except InputError as error:
        raise _of(name, error) from None
    if not any(True for _ in root.iterchildren("{*}Incident")):
        raise InputError(f"{name}: there is no incident in it.", details=[str(each) for each in problems[:5]])
    return root, problems


def _of(name: str, error: InputError) -> InputError:
    if error.message.startswith(f"{name} "):
        return error
    return InputError(f"{name}: {error.message}", hint=error.hint, details=error.details)


def _pages(found: Sequence[Any], doubts: Sequence[str]) -> None:
    from stanzagate.cli.iodef_page import page  # noqa: PLC0415

    emphasized = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    width = shutil.get_terminal_size().columns  # 80 in a pipe, unless COLUMNS says otherwise
    for count, each in enumerate(found, 1):
        if count > 1:
            output.say()
        place = f"{count} of {len(found)}" if len(found) > 1 else ""
        for line in page(each, width, place=place, doubts=doubts):
            if line.strong and emphasized:
                sys.stdout.write(f"{typer.style(output.plain(line.text), bold=True)}\n")
            else:
                output.say(line.text)
