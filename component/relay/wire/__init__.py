"""The sans-IO core of the relay: bytes and timestamps in, events and commands out.

Nothing here knows of a loop, a socket, TLS, a clock or randomness: whoever drives the machines passes in the time in
seconds and what was drawn, and carries out the commands.
"""
