"""What a user may ask for and how a session is started."""
