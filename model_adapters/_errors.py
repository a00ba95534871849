"""The one exception for what a user can mend, and what other errors say in one line."""

_SAID = 240  # characters of an error

NO_TOKENIZER = (
    "the checkpoint has no tokenizer, which text and tasks need: put tokenizer.json and tokenizer_config.json into its "
    "folder (transformers' Trainer saves them where it is given processing_class=tokenizer)"
)


class UserError(Exception):
    """A mistake or a bad input that the user can mend.

    The message is one line: what was asked for, what was found, what to type next. The command line prints it to
    stderr without a traceback and exits with status 2; a sweep records it against the checkpoint.
    """


class NoAnswer(UserError):
    """The Hub did not answer, after all patience: another request to it would wait as long."""


class NoRevision(UserError):
    """A source is there, and a revision or a step of that name is not."""


class NoTokenizer(UserError):
    """A checkpoint's tokenizer has files and does not load from them, on any machine that could load it."""


def in_short(error: BaseException | None) -> str:
    """The first line of what an error says, and where that announces a list, as many lines as make the sentence.

    What follows is advice, as in huggingface_hub's, or the state of a program. An error that says nothing is named.
    """
    lines = [" ".join(line.split()) for line in str(error).strip().splitlines()]
    if not lines:
        return type(error).__name__
    whole = next((end for end, line in enumerate(lines, 1) if line.endswith(".")), len(lines))
    return " ".join(lines[: whole if lines[0].endswith(":") else 1])[:_SAID]
