"""The program: composition root, command line, sandbox and admin API."""

__version__ = "0.1.0"
