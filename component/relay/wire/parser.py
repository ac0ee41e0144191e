"""Reading a stream: bytes in, stream header and whole elements out.

**Slices.** What the relay forwards is, as a rule, the bytes that came: expat says where an element begins and ends.
The slice stands for the element wherever it goes when it takes nothing from the stream around it but the content
namespace. That it does is looked up in its bytes: no prefix of the stream header with its colon, no content namespace
in so many words, and no character reference, which could hide the latter. A slice that fails the test without need is
written anew and means the same, so the test may be coarse.

**Chunks.** How a stream is cut into chunks changes no event: what expat has seen depends only on what has come so far
(see `whole`), and no element gets a byte beyond the limit, whatever else came in its chunk.

**Bounds.** An element has at most `limit` bytes, counted while it comes, `DEEPEST` levels and `MOST_ATTRIBUTES`
attributes on one tag, and its names, with their namespaces, have at most `HEAVIEST` times `limit` characters: servers
write a namespace out for each element that has it from a prefix. The tree takes some forty times its bytes at worst.

**Passing over.** A peer that goes beyond the bounds loses its stream. Our own server does so on behalf of others: an
error of ejabberd repeats what it answers with every quotation mark as six bytes, and its clients may nest as they
like. So a `patient` parser passes over the rest of such an element, keeps nothing of it but the tag, and goes on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers.expat import ExpatError, ParserCreate, errors

from component.relay.wire.anew import anew
from component.relay.wire.names import SEPARATOR, BadNamespace, Names
from component.relay.wire.whole import WholeTags, end_of_tag

DEEPEST = 100
"""Levels of an element, itself among them."""

MOST_ATTRIBUTES = 100
MOST_PASSED = 64 * 1024 * 1024
"""Bytes of an element that are passed over at most."""

HEAVIEST = 4

_WHITE = b" \t\r\n"

_MOST_PREFIXES = 8
"""More on a stream header, and no slice is looked through for them: all is written anew."""

_MARKUP = re.compile(rb"<[!?]")
_ENOUGH = 16
"""Bytes that tell one kind of markup from another."""

_RESERVED = b"http://www.w3.org/XML/1998/namespace"
_MISUSED = re.compile(rb"(xmlns(?::(?!xml=)[^\s=]+)?=[\"'])" + re.escape(_RESERVED))
_ODD = rb"\1" + _RESERVED[:-1] + b"{"
"""Servers write unknown names of the XML namespace in a way that no parser takes. An odd namespace of the same length
in its place has the element passed over. In text they escape quotation marks, so this is found in tags alone."""

_CDATA = b"<![CDATA["
_DECLARATION = re.compile(rb"<\?xml[ \t\r\n][^<>?]*+\?>")
_HALF_DECLARATION = re.compile(rb"<\?(?:x(?:m(?:l(?:[ \t\r\n].*)?)?)?)?", re.DOTALL)

_CONDITIONS = {
    errors.codes[text]: condition
    for text, condition in (
        (errors.XML_ERROR_UNBOUND_PREFIX, "bad-namespace-prefix"),
        (errors.XML_ERROR_UNDECLARING_PREFIX, "bad-namespace-prefix"),
        (errors.XML_ERROR_RESERVED_PREFIX_XML, "bad-namespace-prefix"),
        (errors.XML_ERROR_RESERVED_PREFIX_XMLNS, "bad-namespace-prefix"),
        (errors.XML_ERROR_RESERVED_NAMESPACE_URI, "bad-namespace-prefix"),
        (errors.XML_ERROR_UNDEFINED_ENTITY, "restricted-xml"),
    )
}


@dataclass(frozen=True, slots=True)
class Opened:
    """The stream header.

    :ivar tag: Clark name; so are the names of attributes.
    :ivar content: its default namespace as declared, empty when there is none.
    :ivar end: for `StreamParser.followed`.
    """

    tag: str
    attributes: dict[str, str]
    content: str
    end: int = 0


@dataclass(slots=True)  # not frozen: one is made for each stanza, and that would take three times as long
class Received:
    """An element on the stream, complete.

    :ivar element: Clark names.
    :ivar raw: bytes that mean the same under any content namespace; empty for an element that is not in the content
        namespace itself, since such never leave their stream.
    :ivar end: for `StreamParser.followed`.
    """

    element: Element
    raw: bytes
    end: int = 0


@dataclass(frozen=True, slots=True)
class PassedOver:
    """An element that went beyond the bounds; only a patient parser has it.

    :ivar element: its tag and attributes, without what it contained.
    :ivar text: one sentence for people.
    """

    element: Element
    text: str


@dataclass(frozen=True, slots=True)
class Ended:
    """``</stream:stream>``; nothing comes after it."""


@dataclass(frozen=True, slots=True)
class Failed:
    """What came cannot be read on; nothing comes after it.

    :ivar condition: stream error to answer with (RFC 6120 §4.9.3).
    :ivar text: one sentence for people, which shows nothing of what came.
    """

    condition: str
    text: str


ParserEvent = Opened | Received | PassedOver | Ended | Failed

_TEXT = Failed("bad-format", "There is text between stanzas.")
_NO_STREAM = Failed("not-well-formed", "It does not begin as a stream does.")
_OTHER_ENCODING = Failed("unsupported-encoding", "A stream is in UTF-8.")


class _Stop(Exception):
    """Reading ends here, and this is the last event."""

    def __init__(self, event: Ended | Failed) -> None:
        super().__init__()
        self.event = event


def _failed(condition: str, text: str) -> _Stop:
    return _Stop(Failed(condition, text))


class StreamParser:
    """Reads one stream; a stream that is restarted needs a new one.

    Positions count bytes from the first one of the stream that is not white space.

    :param content: the content namespace that the stream should have.
    :param patient: pass over elements beyond the bounds, and go on.

    :ivar limit: bytes that an element may have; may be changed between calls.
    """

    def __init__(self, content: str, *, limit: int, patient: bool = False) -> None:
        self.limit = limit
        self._patient = patient
        self._passing = ""
        """Why what comes is passed over; empty when it is not."""
        self._empty = False
        """Nothing has come behind the tag of what is passed over."""
        self._content = content
        self._inside = f"{{{content}}}"
        self._telling: list[bytes] = [content.encode(), b"&#"]
        """No slice that stands for its element has any of them."""
        self._finished = False
        self._events: list[ParserEvent] = []
        self._names = names = Names()
        self._known = names.tags
        self._knows_all = names.attributes.issuperset
        self._whole = WholeTags()
        self._taken = 0
        """Bytes that have come."""
        self._significant = 0
        """Bytes that have come up to the last one that is not white space."""
        self._mark = 0
        """Where begins what is not complete."""
        self._base = 0
        """Where `_chunk` begins."""
        self._chunk = b""
        """What expat reads at present."""
        self._partial = bytearray()
        """What expat has read before of the element that is not complete."""
        self._depth = 0
        self._weight = HEAVIEST * limit
        """Characters that names may still have."""
        self._cdata = False
        self._declared: dict[str, str] = {}
        self._start_of_tree()
        self._expat = self._new_expat()

    # For whoever drives it

    def feed(self, data: bytes) -> list[ParserEvent]:
        """Read on; what a peer sends never raises.

        :return: what is complete now, in order.
        """
        if not self._taken:
            data = data.lstrip(_WHITE)
        if self._finished or not data:
            return []
        rest = data if data[-1:] == b">" else data.rstrip(_WHITE)
        if rest:
            self._significant = self._taken + len(rest)
        happened: list[ParserEvent] = []
        self._events = happened
        try:
            if self._taken - self._mark + len(data) <= self.limit:
                self._take(data)
            else:
                self._take_bounded(data)
        except _Stop as stop:
            self._finish(stop.event)
        except BadNamespace:
            self._finish(Failed("bad-format", "A namespace is no URI."))
        except ExpatError as error:
            self._finish(self._judged(error))
        return happened

    def followed(self, event: Opened | Received) -> bool:
        """Whether anything but white space has come behind an element: what was not meant for this stream any more
        (RFC 6120 §5.4.3.3), or came before its time.
        """
        return self._significant > event.end

    @property
    def idle(self) -> bool:
        """Whether nothing has come in part."""
        return self._mark == self._taken

    # From chunks to expat

    def _take_bounded(self, data: bytes) -> None:
        """Take so little at a time that no element can outgrow the limit."""
        start = 0
        while start < len(data):
            room = self.limit - (self._taken - self._mark)
            if room <= 0:
                self._pass_over(f"An element has more than {self.limit} bytes.")
                room = len(data) - start
            self._take(data[start : start + room])
            start += room

    def _take(self, data: bytes) -> None:
        if not self._taken and data[0] != b"<"[0]:
            raise _Stop(_OTHER_ENCODING if data[0] in b"\x00\xfe\xff" else _NO_STREAM)
        self._taken += len(data)
        readable = self._whole.take(data)
        if readable:
            if self._patient and _RESERVED in readable:
                readable = _MISUSED.sub(_ODD, readable)
            if b"<!" in readable or b"<?" in readable:
                self._parse_carefully(readable)
            else:
                self._parse(readable)
        held = self._whole.held
        if held and held.startswith((b"<!", b"<?")):
            begin = bytes(held[:_ENOUGH])
            self._check_markup(begin, self._taken == len(held) and _HALF_DECLARATION.fullmatch(begin) is not None)

    def _parse_carefully(self, data: bytes) -> None:
        """Parse up to each markup declaration or processing instruction, and look at it before expat does."""
        done = 0
        for found in _MARKUP.finditer(data):
            start = found.start()
            if start > done:
                self._parse(data[done:start])
                done = start
            begin = data[start : start + _ENOUGH] + self._whole.held[:_ENOUGH]
            position = self._base + len(self._chunk)
            self._check_markup(begin[:_ENOUGH], not position and _DECLARATION.match(data) is not None)
        self._parse(data[done:])

    def _check_markup(self, begin: bytes, declaration: bool) -> None:
        """Only CDATA sections, and the XML declaration where it belongs, are XMPP (RFC 6120 §11.1).

        :param begin: of what begins with ``<!`` or ``<?``, as far as it has come.
        :param declaration: it is the XML declaration.
        """
        if self._cdata or declaration:
            return
        if not _CDATA.startswith(begin[: len(_CDATA)]):
            raise _failed("restricted-xml", "Comments, processing instructions and declarations are not allowed.")
        if self._depth == 1 and begin.startswith(_CDATA):
            raise _Stop(_TEXT)

    def _parse(self, data: bytes) -> None:
        self._base += len(self._chunk)
        self._chunk = data
        if not self._base and data[1:2] == b"\0":
            raise _Stop(_OTHER_ENCODING)  # expat would believe that it is UTF-16
        self._expat.Parse(data)
        if self._depth > 1:
            if not self._passing:
                self._partial += data[self._mark - self._base :] if self._mark > self._base else data
        elif self._depth:
            end = self._base + len(data)
            if self._mark != end:
                self._pass_white(end)
        elif data.rstrip(_WHITE)[-1:] not in (b">", b""):
            raise _Stop(_NO_STREAM)

    def _pass_white(self, end: int) -> None:
        """Between elements there is nothing but white space, which nobody has to keep."""
        if self._mark >= self._base:
            rest = self._chunk[self._mark - self._base : end - self._base].lstrip(_WHITE)
            if rest and rest[0] != b"<"[0]:
                raise _Stop(_TEXT)
            self._mark = end - len(rest)

    def _judged(self, error: ExpatError) -> Failed:
        if self._depth == 1:
            rest = self._chunk[max(self._mark - self._base, 0) :].lstrip(_WHITE)
            if rest and rest[0] != b"<"[0]:
                return _TEXT  # it stands before what expat cannot read
        condition = _CONDITIONS.get(error.code)
        if condition is None and not self._depth:
            return _NO_STREAM
        return Failed(condition or "not-well-formed", f"It is not XML: {errors.messages[error.code]}.")

    def _finish(self, event: Ended | Failed) -> None:
        self._events.append(event)
        self._finished = True
        self._whole = WholeTags()
        self._partial.clear()
        self._chunk = b""
        self._start_of_tree()
        del self._expat  # they hold each other

    # From expat to events

    def _new_expat(self) -> Any:
        expat = ParserCreate("UTF-8", SEPARATOR, intern=self._names.interned)
        if hasattr(expat, "SetReparseDeferralEnabled"):
            expat.SetReparseDeferralEnabled(False)
        expat.buffer_text = True
        expat.XmlDeclHandler = self._on_declaration
        expat.StartNamespaceDeclHandler = self._on_namespace
        expat.StartElementHandler = self._on_start
        expat.EndElementHandler = self._on_end
        expat.StartCdataSectionHandler = self._on_cdata
        expat.EndCdataSectionHandler = self._on_cdata_end
        return expat

    def _start_of_tree(self) -> None:
        builder = TreeBuilder()
        self._open = builder.start
        self._close = builder.end
        self._text = builder.data

    def _on_declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.upper() != "UTF-8":
            raise _Stop(_OTHER_ENCODING)

    def _on_namespace(self, prefix: str | None, uri: str | None) -> None:
        self._declared[prefix or ""] = uri or ""

    def _on_cdata(self) -> None:
        self._cdata = True

    def _on_cdata_end(self) -> None:
        self._cdata = False

    def _on_start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth = depth = self._depth + 1
        if depth == 2:
            self._on_element()
        try:
            if name not in self._known:
                name = self._names.tag(name)
            if attributes and not self._knows_all(attributes):
                attributes, weight = self._names.attributes_of(attributes)
                self._weight -= weight
        except BadNamespace:
            if not self._patient:
                raise
            attributes, self._weight = {}, -1
        self._weight = weight = self._weight - len(name)
        if weight < 0 or depth > DEEPEST + 1 or len(attributes) > MOST_ATTRIBUTES:
            self._pass_over("An element has too many levels, attributes, or long or odd names.")
            self._empty = depth == 2
        if depth > 1:
            self._open(name, attributes)
        else:
            self._on_header(name, attributes)

    def _on_element(self) -> None:
        start = self._expat.CurrentByteIndex
        if start != self._mark:
            self._pass_white(start)
        self._weight = HEAVIEST * self.limit
        if self._passing:
            self._weight = -1  # its tag alone was too much
            self._begin_passing()
        else:
            self._expat.CharacterDataHandler = self._text

    def _on_header(self, name: str, attributes: dict[str, str]) -> None:
        expat = self._expat
        expat.StartNamespaceDeclHandler = None
        content = self._declared.pop("", "")
        self._declared.pop("xml", None)
        self._telling += (prefix.encode() + b":" for prefix in self._declared)
        if content != self._content or len(self._declared) > _MOST_PREFIXES:
            self._telling = [b""]
        self._root = self._open(name, {})
        self._mark = end_of_tag(self._chunk, expat.CurrentByteIndex - self._base) + self._base
        self._events.append(Opened(name, attributes, content, self._mark))

    def _on_end(self, name: str) -> None:
        element = self._close(name)
        self._depth = depth = self._depth - 1
        if depth == 1:
            self._on_complete(element)
        elif not depth:
            self._pass_white(self._expat.CurrentByteIndex)
            raise _Stop(Ended())

    def _on_complete(self, element: Element) -> None:
        expat = self._expat
        expat.CharacterDataHandler = None
        self._root.clear()
        chunk = self._chunk
        end = expat.CurrentByteIndex - self._base
        if len(element) or element.text is not None or chunk[end - 2 : end] != b"/>":
            end = chunk.index(b">", end) + 1
        if self._partial:
            raw = bytes(self._partial) + chunk[:end]
            self._partial.clear()
        else:
            raw = chunk[self._mark - self._base : end]
        if element.tag.startswith(self._inside):
            for telling in self._telling:
                if telling in raw:
                    raw = anew(element, self._content)
                    break
        else:
            raw = b""
        self._mark = end = end + self._base
        if len(raw) > self.limit:
            text = f"An element has more than {self.limit} bytes."
            if not self._patient:
                raise _failed("policy-violation", text)
            self._events.append(PassedOver(_tag_of(element), text))
        else:
            self._events.append(Received(element, raw, end))

    # Beyond the bounds

    def _pass_over(self, text: str) -> None:
        """What comes is too much: keep nothing of the element but its tag, if we are patient."""
        if not (self._patient and self._depth) or self._taken - self._mark > MOST_PASSED:
            raise _failed("policy-violation", text)
        if not self._passing:
            self._passing = text
            if self._depth > 1:  # else its tag is not complete
                self._begin_passing()

    def _begin_passing(self) -> None:
        self._empty = False
        self._partial.clear()
        expat = self._expat
        expat.StartElementHandler = self._on_passed_start
        expat.EndElementHandler = self._on_passed_end
        expat.CharacterDataHandler = self._on_passed_text

    def _on_passed_start(self, _name: str, _attributes: dict[str, str]) -> None:
        self._depth += 1
        self._empty = False

    def _on_passed_text(self, _text: str) -> None:
        self._empty = False

    def _on_passed_end(self, _name: str) -> None:
        self._depth -= 1
        if self._depth > 1:
            return
        expat, chunk = self._expat, self._chunk
        end = expat.CurrentByteIndex - self._base
        if not self._empty or chunk[end - 2 : end] != b"/>":
            end = chunk.index(b">", end) + 1
        self._mark = end + self._base
        self._events.append(PassedOver(_tag_of(self._root[-1]), self._passing))
        self._passing = ""
        root = self._root.tag
        self._start_of_tree()
        self._root = self._open(root, {})
        expat.StartElementHandler = self._on_start
        expat.EndElementHandler = self._on_end
        expat.CharacterDataHandler = None


def _tag_of(element: Element) -> Element:
    """An element without what it contains."""
    return Element(element.tag, element.attrib)
