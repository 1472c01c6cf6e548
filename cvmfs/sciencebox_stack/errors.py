"""The one error that reaches a person."""


class StackError(Exception):
    """What went wrong and what to do next, as one sentence for the terminal."""
