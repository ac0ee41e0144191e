"""Everything that is attached to an XMPP server as an XEP-0114 component."""
