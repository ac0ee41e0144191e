"""Tests of Stanzagate."""
