"""What creators of topics may configure (XEP-0060 §8.2): a form in, a topic out, and back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from grid import errors, ns
from grid.errors import Refusal
from grid.model import AccessModel, Topic
from grid.protocol.forms import Form, FormType, MetaData, NodeConfig, read_config, write_config, write_meta_data
from grid.protocol.xep0060 import Condition, refusal

KEPT = 100
"""Items that the server keeps for a topic that wants them kept and does not say how many."""
MOST_KEPT = 256
"""Prosody keeps no more by default (`pubsub_max_items`)."""

_OFFERED = {
    "access_model": (AccessModel.AUTHORIZE.value, AccessModel.WHITELIST.value),
    "publish_model": ("publishers",),
    "send_last_published_item": ("never",),
}


def configured(topic: Topic, form: Form | None) -> Topic:
    """The topic as a form wants it.

    :raises Refusal: not-acceptable; it asks for something that a grid does not offer, such as open access.
    """
    if form is None or form.type is FormType.CANCEL:
        return topic
    config = read_config(form)
    for name, offered in _OFFERED.items():
        value = getattr(config, name)
        if value is not None and value not in offered:
            extra = refusal(Condition.UNSUPPORTED_ACCESS_MODEL).extra if name == "access_model" else ""
            raise errors.not_acceptable(f"pubsub#{name} is one of {', '.join(offered)} here.", extra=extra)
    return replace(
        topic,
        title=topic.title if config.title is None else config.title,
        type=topic.type if config.type is None else config.type,
        access_model=topic.access_model if config.access_model is None else AccessModel(config.access_model),
        persist=_kept(topic, config),
    )


def meets(topic: Topic, options: Form) -> bool:
    """Whether a topic is as the options of a publish want it (XEP-0060 §7.1.5).

    :raises Refusal: they are malformed.
    """
    if options.form_type not in (ns.PUBLISH_OPTIONS, ""):
        raise errors.bad_request(f"Publish options have the FORM_TYPE {ns.PUBLISH_OPTIONS}.")
    try:
        return configured(topic, replace(options, form_type="")) == topic
    except Refusal as refused:
        if refused.condition == "not-acceptable":
            return False
        raise


def _kept(topic: Topic, config: NodeConfig) -> int:
    if config.persist_items is False:
        return 0
    if not (config.persist_items or topic.persist):
        return 0
    if config.max_items is None:
        return topic.persist or KEPT
    if config.max_items < 0:
        return MOST_KEPT
    if config.max_items > MOST_KEPT:
        raise errors.not_acceptable(f"pubsub#max_items is at most {MOST_KEPT} here.")
    return config.max_items


def configuration(topic: Topic, kind: FormType) -> str:
    """The configuration of a topic, as a form."""
    config = NodeConfig(
        title=topic.title or topic.name,
        type=topic.type,
        access_model=topic.access_model.value,
        publish_model="publishers",
        persist_items=topic.persist > 0,
        max_items=topic.persist,
        send_last_published_item="never",
    )
    return write_config(config, kind, offered=_OFFERED)


def meta_data(topic: Topic) -> str:
    """What disco#info tells of a topic (RFC 8600 §5); neither its owner nor who publishes or subscribes."""
    created = datetime.fromtimestamp(topic.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if topic.created else None
    title = topic.title or topic.name
    return write_meta_data(
        MetaData(type=topic.type, title=title, creation_date=created, access_model=topic.access_model.value)
    )
