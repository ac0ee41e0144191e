"""The companion relay (XEP-0288): reserved for server-to-server federation of named partners."""
