"""How the hub is put together."""
