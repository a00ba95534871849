"""The one kind of error that a user can put right."""


class TaskError(ValueError):
    """A task cannot be asked as it was asked for; the message is one line that says what to do."""
