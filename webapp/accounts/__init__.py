"""People: accounts, invitations, one-time links and API tokens."""
