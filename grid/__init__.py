"""The XMPP-Grid controller and agent: reserved for draft-ietf-mile-xmpp-grid-01 and RFC 8600."""
