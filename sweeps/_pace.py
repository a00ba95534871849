"""How fast pieces of work come, for the time that the rest takes."""

import time


class Pace:
    """The mean rate since the work began; none before enough was done to tell."""

    def __init__(self) -> None:
        """Begins now, with work that comes one piece after the other."""
        self.begin()

    def begin(self, at_once: int = 0) -> None:
        """Begins anew: what came before, and how long it took, says nothing of what is to come.

        Args:
            at_once: pieces that are at work side by side. Until as many are done, those that are half done would be
                taken for not begun.
        """
        self._begun = time.monotonic()
        self._enough, self._made = max(1, at_once), 0

    def add(self, pieces: int) -> None:
        """Counts finished pieces."""
        self._made += pieces

    @property
    def rate(self) -> float:
        """Pieces a second; 0 where it cannot be told yet."""
        took = time.monotonic() - self._begun
        return self._made / took if self._made >= self._enough and took else 0.0
