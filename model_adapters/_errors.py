"""The one exception for what a user can mend."""


class UserError(Exception):
    """A mistake or a bad input that the user can mend.

    The message is one line: what was asked for, what was found, what to type next. The command line prints it to
    stderr without a traceback and exits with status 2; a sweep records it against the checkpoint.
    """


class NoAnswer(UserError):
    """The Hub did not answer, after all patience: another request to it would wait as long."""


class NoRevision(UserError):
    """A source is there, and a revision or a step of that name is not."""
