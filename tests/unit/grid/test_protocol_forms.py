"""Data forms (XEP-0004): node_config and meta-data."""

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grid import ns
from grid.errors import Refusal
from grid.protocol.forms import (
    MAX,
    Form,
    FormType,
    MetaData,
    NodeConfig,
    find_form,
    read_config,
    read_form,
    read_meta_data,
    write_config,
    write_meta_data,
)
from tests.unit.grid.protocolkit import WORDS, canonical, iq

RFC8600 = """
  <configure>
    <x xmlns='jabber:x:data' type='submit'>
      <field var='FORM_TYPE' type='hidden'>
        <value>http://jabber.org/protocol/pubsub#node_config</value>
      </field>
      <field var='pubsub#access_model'><value>authorize</value></field>
      <field var='pubsub#persist_items'><value>1</value></field>
      <field var='pubsub#send_last_published_item'>
        <value>never</value>
      </field>
    </x>
  </configure>
"""


def test_the_example_of_rfc_8600() -> None:
    form = find_form(ET.fromstring(RFC8600))
    assert form is not None and form.type is FormType.SUBMIT
    assert read_config(form) == NodeConfig(
        access_model="authorize", persist_items=True, send_last_published_item="never"
    )


def test_the_meta_data_of_rfc_8600() -> None:
    """§5: pubsub#type is what a platform looks for."""
    expected = f"""
      <x xmlns='jabber:x:data' type='result'>
       <field var='FORM_TYPE' type='hidden'><value>{ns.META_DATA}</value></field>
       <field var='pubsub#type' label='Payload type' type='text-single'>
        <value>urn:ietf:params:xml:ns:iodef-2.0</value>
       </field>
      </x>"""
    written = write_meta_data(MetaData(type="urn:ietf:params:xml:ns:iodef-2.0"))
    assert canonical(ET.fromstring(written)) == canonical(ET.fromstring(expected))


def form(*fields: str, kind: str = "submit") -> Form:
    about = f"<field var='FORM_TYPE'><value>{ns.NODE_CONFIG}</value></field>"
    return read_form(ET.fromstring(f"<x xmlns='{ns.DATA}' type='{kind}'>{about}{''.join(fields)}</x>"))


def field(name: str, *values: str) -> str:
    return f"<field var='{name}'>{''.join(f'<value>{value}</value>' for value in values)}</field>"


def test_what_is_not_said_and_what_is_unknown() -> None:
    said = form(
        field("pubsub#title", ""), field("pubsub#max_items", "max"), field("x#y", "1", "2"), field("title", "t")
    )
    config = read_config(said)
    assert config.title == "" and config.max_items == MAX and config.persist_items is None
    assert config.unknown == ("x#y", "title")


@pytest.mark.parametrize(
    "wrong",
    [
        field("pubsub#persist_items", "perhaps"),
        field("pubsub#max_items", "-1"),
        field("pubsub#max_items", "99999999999"),
        field("pubsub#max_payload_size", "max"),
        field("pubsub#access_model", "everybody"),
        field("pubsub#title", "a", "b"),
        field("pubsub#notification_type", ""),
    ],
)
def test_values_that_cannot_be(wrong: str) -> None:
    with pytest.raises(Refusal) as refused:
        read_config(form(wrong))
    assert refused.value.condition == "bad-request" and "pubsub#" in refused.value.text


@pytest.mark.parametrize(
    "text",
    [
        "<x xmlns='jabber:x:data'/>",
        "<x xmlns='jabber:x:data' type='question'/>",
        "<x xmlns='jabber:x:data' type='submit'><field/></x>",
        f"<x xmlns='jabber:x:data' type='submit'>{field('a', '1')}{field('a', '2')}</x>",
        "<x xmlns='jabber:x:data' type='submit'><field var='a'><value><b/></value></field></x>",
        f"<x xmlns='jabber:x:data' type='submit'>{''.join(field(f'f{n}') for n in range(300))}</x>",
        f"<x xmlns='jabber:x:data' type='submit'>{field('a', *('x' for _ in range(2000)))}</x>",
    ],
)
def test_malformed_forms(text: str) -> None:
    with pytest.raises(Refusal):
        read_form(ET.fromstring(text))


def test_there_is_one_form() -> None:
    assert find_form(iq("")) is None
    with pytest.raises(Refusal):
        find_form(iq("<x xmlns='jabber:x:data' type='submit'/>" * 2))


def test_a_configuration_is_of_its_type() -> None:
    with pytest.raises(Refusal):
        read_config(Form(FormType.SUBMIT, "urn:something:else"))


CONFIGS = st.builds(
    NodeConfig,
    title=st.none() | WORDS,
    type=st.none() | WORDS,
    access_model=st.none() | st.sampled_from(["authorize", "whitelist", "open"]),
    persist_items=st.none() | st.booleans(),
    max_items=st.none() | st.just(MAX) | st.integers(0, 10**9),
    notification_type=st.none() | st.sampled_from(["normal", "headline"]),
    deliver_payloads=st.none() | st.booleans(),
)


@given(CONFIGS, st.sampled_from([FormType.FORM, FormType.SUBMIT, FormType.RESULT]))
def test_configurations_both_ways(config: NodeConfig, kind: FormType) -> None:
    again = read_form(ET.fromstring(write_config(config, kind)))
    assert again.type is kind and again.form_type == ns.NODE_CONFIG
    assert read_config(again) == config


def test_a_form_to_fill_in_says_what_can_be_chosen() -> None:
    text = write_config(
        NodeConfig(access_model="whitelist", persist_items=False),
        FormType.FORM,
        offered={"access_model": ("authorize", "whitelist")},
    )
    fields = {each.get("var"): each for each in ET.fromstring(text)}
    access = fields["pubsub#access_model"]
    assert access.get("type") == "list-single" and access.get("label")
    options = [option.findtext(f"{{{ns.DATA}}}value") for option in access.iter(f"{{{ns.DATA}}}option")]
    assert options == ["authorize", "whitelist"]
    assert fields["pubsub#persist_items"].get("type") == "boolean"


METAS = st.builds(
    MetaData,
    type=st.none() | WORDS,
    title=st.none() | WORDS,
    creation_date=st.none() | WORDS,
    num_subscribers=st.none() | st.integers(0, 10**9),
    others=st.dictionaries(st.just("x#") .flatmap(lambda prefix: WORDS.map(lambda name: prefix + name)),
                           st.lists(WORDS, max_size=3).map(tuple), max_size=3),
)  # fmt: skip


@given(METAS)
def test_meta_data_both_ways(data: MetaData) -> None:
    assert read_meta_data(read_form(ET.fromstring(write_meta_data(data)))) == data
