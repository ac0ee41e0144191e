"""What every component needs: the link to the server, storage, audit, secrets, JIDs, errors, settings."""
