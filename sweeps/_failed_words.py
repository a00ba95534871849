"""How many measurements failed, in the words of a sweep's last line and of the report's first paragraph."""

from lm_probe.model_adapters import counted


def failed_words(measurements: int, with_checkpoints: int, checkpoints: int) -> str:
    """What was asked and not made, and how much of it because checkpoints could not be measured to the end.

    One that could not be loaded may have values of its weights, which are read before it is.

    Args:
        measurements: all that failed.
        with_checkpoints: those of them that failed with their checkpoint.
        checkpoints: how many checkpoints those were.
    """
    said = f"{counted(measurements, 'measurement')} failed"
    if not checkpoints:
        return said
    share = f"{with_checkpoints:,} of them" if with_checkpoints < measurements else "all" if measurements > 1 else ""
    because = f"because {counted(checkpoints, 'checkpoint')} could not be measured to the end"
    return f"{said} ({f'{share} {because}'.strip()})"
