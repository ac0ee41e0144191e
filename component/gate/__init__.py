"""The gate: which JID may wake which TR-069 device (Annex K), decided, enforced and recorded."""
