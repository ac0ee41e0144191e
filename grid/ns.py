"""The namespaces of the grid. Each URI stands here and nowhere else; those of the attachment are in
`component.base.ns`, those of incidents in `grid.iodef.names`."""

from __future__ import annotations

GRID = "urn:stanzagate:grid:1"
"""Ours: what draft-ietf-mile-xmpp-grid-01 leaves open (docs/protocol-grid.md)."""

GI = "gi"
"""The envelope of accounts and discovery in the draft's samples (§2.6)."""
CONTROLLER = "com.domain.gi.gcl.Controller"
XGRID = "xgrid"
"""The envelope of capabilities and topics in the draft's samples (§2.6)."""
XSI = "http://www.w3.org/2001/XMLSchema-instance"

DISCO_INFO = "http://jabber.org/protocol/disco#info"
DISCO_ITEMS = "http://jabber.org/protocol/disco#items"
PUBSUB = "http://jabber.org/protocol/pubsub"
PUBSUB_OWNER = "http://jabber.org/protocol/pubsub#owner"
PUBSUB_EVENT = "http://jabber.org/protocol/pubsub#event"
PUBSUB_ERRORS = "http://jabber.org/protocol/pubsub#errors"
META_DATA = "http://jabber.org/protocol/pubsub#meta-data"
NODE_CONFIG = "http://jabber.org/protocol/pubsub#node_config"
DATA = "jabber:x:data"
RSM = "http://jabber.org/protocol/rsm"
COMMANDS = "http://jabber.org/protocol/commands"
ADMIN = "http://jabber.org/protocol/admin"
DELEGATION = "urn:xmpp:delegation:1"
FORWARD = "urn:xmpp:forward:0"
DELAY = "urn:xmpp:delay"
PING = "urn:xmpp:ping"
VERSION = "jabber:iq:version"
JSON = "urn:xmpp:json:0"
CLIENT = "jabber:client"
