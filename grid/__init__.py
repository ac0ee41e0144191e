"""The XMPP-Grid: controller and connection agent (draft-ietf-mile-xmpp-grid-01, RFC 8600), and incidents (IODEF)."""
