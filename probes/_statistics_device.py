"""Where statistics are computed, and how: not every device has float64, and none is to round."""

from contextlib import AbstractContextManager, nullcontext

import torch

_WITHOUT_FLOAT64 = {"mps"}
_INSTEAD = torch.device("cpu")


def statistics_device(device: torch.device | str) -> torch.device:
    """The device itself; the CPU for one that has no float64 (Apple's MPS, which shares its memory with the CPU)."""
    given = torch.device(device)
    return _INSTEAD if given.type in _WITHOUT_FLOAT64 else given


def unrounded(device: torch.device) -> AbstractContextManager[object]:
    """A context without autocast: mixed precision is the model's business, a statistic is not to be rounded."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
