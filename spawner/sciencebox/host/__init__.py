"""The server that the service runs on: what it has, and how the service is brought up on it."""
