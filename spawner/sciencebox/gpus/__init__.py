"""What a GPU is, who has it, and who gets it. Knows no session, no hub and no engine."""
