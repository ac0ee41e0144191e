"""What the controller programs into the server: topics, affiliations and subscriptions, accounts, the plugin."""
