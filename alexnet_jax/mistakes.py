"""The one error that is the user's and not ours. Knows nothing else of the house."""


class Mistake(ValueError):
    """A wrong input, told in one sentence: what was expected, what came, what to do.

    `main.py` prints the sentence without a traceback and ends with status 2.
    """
