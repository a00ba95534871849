"""Downloads the next checkpoint while this one is measured."""

from threading import Event, Thread

from lm_probe.model_adapters import Checkpoint, fetch_ahead


class Prefetch:
    """One thread that is one checkpoint ahead at most.

    What goes wrong is not told: whoever then downloads the checkpoint meets the same error at its own turn.
    """

    def __init__(self) -> None:
        """Starts with nothing under way."""
        self._stop: Event | None = None
        self._thread: Thread | None = None
        self._wanted: str | None = None

    def begin(self, checkpoint: Checkpoint) -> None:
        """Starts to download a checkpoint of the Hub, unless that is what was begun last."""
        if self._wanted != checkpoint.identity:
            self.wait_for(None)
            stop = Event()
            self._stop, self._wanted = stop, checkpoint.identity
            # A daemon: the end of the process does not wait for it.
            self._thread = Thread(target=fetch_ahead, args=(checkpoint.source, checkpoint.identity, stop), daemon=True)
            self._thread.start()

    def wait_for(self, checkpoint: Checkpoint | None) -> None:
        """Waits until nothing is under way; breaks off what is not this checkpoint."""
        if checkpoint is None or self._wanted != checkpoint.identity:
            self.stop()
        if self._thread is not None:
            self._thread.join()
        self._thread = self._wanted = None

    def stop(self) -> None:
        """Breaks off what is under way, without waiting until it has noticed."""
        if self._stop is not None:
            self._stop.set()
