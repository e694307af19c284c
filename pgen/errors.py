"""The one exception that reaches a user as a sentence."""


class UserError(Exception):
    """Bad input, told in one sentence: what was named, what was found, what was wanted, and a way out.

    The command line prints the sentence and leaves with exit code 2; ``--debug`` shows the traceback.
    """
