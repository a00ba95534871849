"""How a command is told to stop: Ctrl-C, and SIGTERM, which batch systems send before they kill."""

import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any, NoReturn

_SOON = 0.05  # seconds: out of the destructor, and whoever waits will not notice


class StopSignals:
    """While it is entered, SIGTERM is what Ctrl-C is: a KeyboardInterrupt, which no one loses.

    It is no error that a sweep would record and go on from.
    A signal that comes while a destructor runs raises there, and Python drops what a destructor raises: it is raised
    again, or the command would go on, deaf to SIGTERM.
    """

    number = signal.SIGINT
    """The signal that came."""

    def __enter__(self) -> "StopSignals":
        self._hook = sys.unraisablehook
        self._before: dict[signal.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM)}
            signal.signal(signal.SIGTERM, self._terminated)
            sys.unraisablehook = self._dropped
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._before:
            signal.setitimer(signal.ITIMER_REAL, 0)
            sys.unraisablehook = self._hook
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def _terminated(self, *_: int | FrameType | None) -> NoReturn:
        self.number = signal.SIGTERM
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # batch systems send more than one, also while this one is obeyed
        raise KeyboardInterrupt

    def _dropped(self, what: "sys.UnraisableHookArgs") -> None:
        if issubclass(what.exc_type, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGALRM, signal.default_int_handler)
            signal.setitimer(signal.ITIMER_REAL, _SOON)  # no thread: a destructor may run where one cannot be started
        else:
            self._hook(what)
