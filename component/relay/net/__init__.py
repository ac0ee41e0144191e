"""The driver of the relay: sockets, TLS, names and timers for the machines of `component.relay.wire`."""
