"""The admin API: everything an operator may ask or change, over HTTP on a unix socket and, when wanted, on TCP."""
