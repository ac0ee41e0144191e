"""Every namespace URI that the components use, once."""

COMPONENT = "jabber:component:accept"
STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"
STREAMS = "urn:ietf:params:xml:ns:xmpp-streams"
CONNECTION_REQUEST = "urn:broadband-forum-org:cwmp:xmppConnReq-1-0"
POLICY = "urn:stanzagate:policy:1"
