"""The one exception that a user sees as a sentence."""


class UserError(Exception):
    """Wrong use or input: one sentence that says what was wrong, where, and what to do.

    Commands print it on stderr and exit with code 2; library callers catch it like any exception.
    """


class RunStopped(UserError):
    """A run that could not go on; what it has computed is kept, and it can be resumed."""
