"""The main job, shown on a real server: ``python -m stanzagate.demo [--server prosody|ejabberd]``."""
