"""Data forms (XEP-0004), with the two that describe a node of XEP-0060: its configuration and its meta-data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from xml.etree.ElementTree import Element

from grid import ns
from grid.errors import bad_request
from grid.protocol.elements import LONGEST_NAME, attributes, called, element, quote, shown, split, truth

X = f"{{{ns.DATA}}}x"
FORM_TYPE = "FORM_TYPE"
MOST_FIELDS = 200
MOST_VALUES = 1000


class FormType(Enum):
    """XEP-0004 §3.1."""

    FORM = "form"
    SUBMIT = "submit"
    CANCEL = "cancel"
    RESULT = "result"


@dataclass(frozen=True, slots=True)
class Form:
    """What a form says.

    :ivar form_type: what it is about (XEP-0068), or empty.
    :ivar values: of each field, without `FORM_TYPE`.
    """

    type: FormType
    form_type: str = ""
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def get(self, name: str) -> str | None:
        """The one value of a field; None when the field is not there, empty when it has no value.

        :raises Refusal: bad_request; it has several.
        """
        values = self.values.get(name)
        if values is None:
            return None
        if len(values) > 1:
            raise bad_request(f"The field {shown(name)} has more than one value.")
        return values[0] if values else ""


@dataclass(frozen=True, slots=True)
class Field:
    """A field as it is written.

    :ivar type: XEP-0004 §3.3; empty leaves it out.
    :ivar options: what can be chosen, for the types that are lists.
    """

    name: str
    values: tuple[str, ...]
    type: str = ""
    label: str = ""
    options: tuple[str, ...] = ()


def find_form(parent: Element) -> Form | None:
    """The form among the children of `parent`.

    :raises Refusal: bad_request; there are several, or it is malformed.
    """
    found = parent.findall(X)
    if len(found) > 1:
        raise bad_request(f"{called(parent)} holds more than one form.")
    return read_form(found[0]) if found else None


def read_form(x: Element) -> Form:
    """Read a form.

    :raises Refusal: bad_request.
    """
    try:
        kind = FormType(x.get("type", ""))
    except ValueError:
        raise bad_request("A form is of type form, submit, cancel or result.") from None
    if len(x) > MOST_FIELDS:
        raise bad_request(f"A form has at most {MOST_FIELDS} fields.")
    values: dict[str, tuple[str, ...]] = {}
    for child in x:
        if split(child.tag) != (ns.DATA, "field") or child.get("type") == "fixed":
            continue
        name = child.get("var", "")
        if not name or len(name) > LONGEST_NAME:
            raise bad_request("Each field of a form has a name in its attribute var.")
        if name in values:
            raise bad_request(f"The field {shown(name)} is there more than once.")
        if len(child) > MOST_VALUES:
            raise bad_request(f"The field {shown(name)} has too many values.")
        values[name] = tuple(_value(each) for each in child if split(each.tag) == (ns.DATA, "value"))
    form_type = values.pop(FORM_TYPE, ("",))
    return Form(kind, form_type[0] if form_type else "", values)


def _value(element: Element) -> str:
    if len(element):
        raise bad_request("A value in a form holds text only.")
    return (element.text or "").strip()


def write_form(kind: FormType, form_type: str, described: Iterable[Field] = ()) -> str:
    """The text of a form; labels, types of fields and options only where somebody is to fill it in or read it."""
    about = Field(FORM_TYPE, (form_type,), "hidden")
    return (
        f"<x xmlns='{ns.DATA}' type='{kind.value}'>{''.join(_field(kind, each) for each in (about, *described))}</x>"
    )


def _field(kind: FormType, what: Field) -> str:
    hidden = what.name == FORM_TYPE
    described = kind in (FormType.FORM, FormType.RESULT)
    said = attributes(
        var=what.name,
        type=(what.type or None) if described or hidden else None,
        label=(what.label or None) if described else None,
    )
    options = what.options if kind is FormType.FORM else ()
    content = "".join(element("value", value) for value in what.values)
    content += "".join(f"<option label='{quote(option)}'>{element('value', option)}</option>" for option in options)
    return f"<field{said}>{content}</field>"


# The configuration of a node (XEP-0060 §16.4.4)


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What a node is configured to be; None where nothing is said.

    :ivar max_items: of the items that are kept; ``max`` is -1 (as many as the service allows).
    :ivar unknown: names of fields that are none of these; a service ignores them (XEP-0004 §3.1).
    """

    title: str | None = None
    description: str | None = None
    type: str | None = None
    access_model: str | None = None
    publish_model: str | None = None
    persist_items: bool | None = None
    max_items: int | None = None
    item_expire: str | None = None
    max_payload_size: int | None = None
    send_last_published_item: str | None = None
    notification_type: str | None = None
    deliver_notifications: bool | None = None
    deliver_payloads: bool | None = None
    notify_config: bool | None = None
    notify_delete: bool | None = None
    notify_retract: bool | None = None
    notify_sub: bool | None = None
    presence_based_delivery: bool | None = None
    purge_offline: bool | None = None
    subscribe: bool | None = None
    itemreply: str | None = None
    node_type: str | None = None
    unknown: tuple[str, ...] = ()


MAX = -1
"""As many as the service allows."""

_PREFIX = "pubsub#"
_BOOLEANS = frozenset(
    {"persist_items", "deliver_notifications", "deliver_payloads", "notify_config", "notify_delete", "notify_retract",
     "notify_sub", "presence_based_delivery", "purge_offline", "subscribe"}
)  # fmt: skip
_NUMBERS = frozenset({"max_items", "max_payload_size"})
_CHOICES = {
    "access_model": ("authorize", "open", "presence", "roster", "whitelist"),
    "publish_model": ("publishers", "subscribers", "open"),
    "send_last_published_item": ("never", "on_sub", "on_sub_and_presence"),
    "notification_type": ("normal", "headline"),
    "itemreply": ("owner", "publisher", "room"),
    "node_type": ("leaf", "collection"),
}
_LABELS = {
    "title": "A short name",
    "description": "A description",
    "type": "Payload type",
    "access_model": "Who may subscribe",
    "publish_model": "Who may publish",
    "persist_items": "Whether items are kept",
    "max_items": "How many items are kept",
    "send_last_published_item": "When the last item is sent",
    "notification_type": "Type of the messages",
    "deliver_payloads": "Whether events hold what was published",
}
_NAMES = tuple(each.name for each in fields(NodeConfig) if each.name != "unknown")
_FIELDS = frozenset(_PREFIX + name for name in _NAMES)


def read_config(form: Form) -> NodeConfig:
    """What a form of ``pubsub#node_config`` says.

    :raises Refusal: bad_request; a value cannot be one of its field.
    """
    if form.form_type not in (ns.NODE_CONFIG, ""):
        raise bad_request(f"A configuration has the FORM_TYPE {ns.NODE_CONFIG}.")
    said: dict[str, object] = {}
    for name in _NAMES:
        value = form.get(_PREFIX + name)
        if value is not None:
            said[name] = _setting(name, value)
    unknown = tuple(name for name in form.values if name not in _FIELDS)
    return NodeConfig(unknown=unknown, **said)  # type: ignore[arg-type]  # each value is of its field's type


def _setting(name: str, value: str) -> str | bool | int:
    where = f"The field {_PREFIX}{name}"
    if name in _BOOLEANS:
        return truth(value, where, default=False)
    if name in _NUMBERS:
        if name == "max_items" and value == "max":
            return MAX
        if value.isascii() and value.isdigit() and len(value) <= 10:
            return int(value)
        raise bad_request(f"{where} is a whole number.")
    if name in _CHOICES and value not in _CHOICES[name]:
        raise bad_request(f"{where} is one of {', '.join(_CHOICES[name])}.")
    return value


def write_config(config: NodeConfig, kind: FormType, *, offered: Mapping[str, tuple[str, ...]] | None = None) -> str:
    """The form of a configuration: what is None is left out.

    :param offered: what of the choices the service offers, by name of the field without ``pubsub#``; all when it is
        not named.
    """
    described = []
    for name in _NAMES:
        value = getattr(config, name)
        if value is not None:
            options = (offered or {}).get(name, _CHOICES.get(name, ()))
            described.append(Field(_PREFIX + name, (_written(value),), _type(name), _LABELS.get(name, ""), options))
    return write_form(kind, ns.NODE_CONFIG, described)


def _written(value: str | bool | int) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return "max" if value == MAX else str(value)


def _type(name: str) -> str:
    if name in _BOOLEANS:
        return "boolean"
    return "list-single" if name in _CHOICES else "text-single"


# The meta-data of a node (XEP-0060 §5.4, RFC 8600 §5)


@dataclass(frozen=True, slots=True)
class MetaData:
    """What disco#info tells of a node; None where nothing is said.

    :ivar type: namespace of the payload; RFC 8600 §5 wants it.
    :ivar creation_date: XEP-0082.
    :ivar others: further fields with their values.
    """

    type: str | None = None
    title: str | None = None
    description: str | None = None
    creation_date: str | None = None
    access_model: str | None = None
    publish_model: str | None = None
    num_subscribers: int | None = None
    others: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


_META = {
    "type": ("Payload type", "text-single"),
    "title": ("A short name", "text-single"),
    "description": ("A description", "text-single"),
    "creation_date": ("Creation date", "text-single"),
    "access_model": ("Who may subscribe", "list-single"),
    "publish_model": ("Who may publish", "list-single"),
    "num_subscribers": ("Number of subscribers", "text-single"),
}
_META_FIELDS = frozenset(_PREFIX + name for name in _META)


def write_meta_data(data: MetaData) -> str:
    """The form of a node's meta-data."""
    described = [
        Field(_PREFIX + name, (str(value),), kind, label)
        for name, (label, kind) in _META.items()
        if (value := getattr(data, name)) is not None
    ]
    described += [Field(name, values) for name, values in data.others.items()]
    return write_form(FormType.RESULT, ns.META_DATA, described)


def read_meta_data(form: Form) -> MetaData:
    """What a form of ``pubsub#meta-data`` says.

    :raises Refusal: bad_request.
    """
    said: dict[str, str | int] = {}
    for name in _META:
        value = form.get(_PREFIX + name)
        if value is not None:
            said[name] = value
    count = said.pop("num_subscribers", None)
    if isinstance(count, str) and count.isascii() and count.isdigit() and len(count) <= 10:
        said["num_subscribers"] = int(count)
    others = {name: values for name, values in form.values.items() if name not in _META_FIELDS}
    return MetaData(others=others, **said)  # type: ignore[arg-type]  # each value is of its field's type
