"""Errors that a user can mend. The command line prints them as one paragraph, without a traceback."""

import contextlib
from collections.abc import Iterator


class UserError(ValueError):
    """Bad input or a bad setting.

    The message names the file and key, what was expected, what was found, and the remedy.
    """


class UsageError(UserError):
    """The command line itself is wrong (exit code 2)."""


class DamagedFileError(UserError):
    """A file does not hold what its manifest or hash says it should."""


@contextlib.contextmanager
def about(name: object) -> Iterator[None]:
    """Begin the message of a UserError with the file or key that it is about, where what raises it cannot know."""
    try:
        yield
    except UserError as error:
        raise type(error)(f"{name}: {error}") from error
