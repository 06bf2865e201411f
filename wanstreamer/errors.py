"""The one exception for a user's mistake: entry points print it as one line and exit with code 2."""


class InputError(ValueError):
    """The user's input cannot be used.

    The message is one line: the file or key, its value, what was expected, and the remedy.
    Programming errors are never raised as this.
    """
