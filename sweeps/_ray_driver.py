"""Ray's driver: what a sweep asks of a cluster, in plain values; as a program, a process of its own.

Ray ends its driver where the Ray of the machine is gone, by `_exit` from a thread in C++, or waits a minute for it,
deaf to signals. So the process that stores is not the driver: it starts this one, writes what it asks to its standard
input and reads the answers from its standard output. Nothing that is measured is unpacked here.
"""

import os
import pickle
import shutil
import signal
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, BinaryIO, NamedTuple

from lm_probe.sweeps import _ray_actor

CLOSE = "close"
"""The last question, which is not answered."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_LAST = 30.0  # seconds to let go in, once nobody asks any more


class Came(NamedTuple):
    """What a worker answered; see `packed`."""

    value: bytes


class Lost(NamedTuple):
    """A worker died, by Ray's account."""

    reason: str


Answer = Came | Lost


class Driver:
    """A connection with a cluster; workers and questions go by number."""

    def __init__(self, ray: Any) -> None:
        """Takes the `ray` module, connected."""
        self._ray = ray
        self._actor = _sent(ray)
        self._workers: dict[int, Any] = {}
        self._asked: dict[Any, int] = {}
        self._number = 0
        self._job: Any = None

    def nodes(self) -> list[dict[str, Any]]:
        """The machines, as Ray describes them."""
        return list(self._ray.nodes())

    def put(self, job: bytes) -> None:
        """What all workers begin with: it travels to each machine once."""
        self._job = self._ray.put(job)

    def hire(self, node: str, cpus: int, gpus: float) -> int:
        """Starts a worker on a machine; gives its number."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = NodeAffinitySchedulingStrategy(node, soft=False)
        number = self._next()
        self._workers[number] = self._actor.options(num_cpus=cpus, num_gpus=gpus, scheduling_strategy=there).remote()
        return number

    def dismiss(self, worker: int) -> None:
        """Ends a worker, whatever it is at."""
        self._ray.kill(self._workers.pop(worker))

    def introduce(self, worker: int, given: bytes) -> int:
        """Tells a worker where it stands; gives the number of the question."""
        return self._ask(self._workers[worker].introduce.remote(given))

    def begin(self, worker: int, cpus: int, gpus: float) -> int:
        """Hands it the job; gives the number of the question."""
        return self._ask(self._workers[worker].begin.remote(self._job, cpus, gpus))

    def call(self, worker: int, method: str, given: bytes) -> int:
        """Asks a worker for something; gives the number of the question."""
        return self._ask(self._workers[worker].call.remote(method, given))

    def answers(self, within: float) -> list[tuple[int, Answer]]:
        """To which questions there are answers now, once there is one or the seconds are over."""
        if not self._asked:
            return []
        ready, _ = self._ray.wait(list(self._asked), timeout=within)
        return [(self._asked.pop(reference), self._answer(reference)) for reference in ready]

    def close(self) -> None:
        """Ends all workers; those that are gone, or whose cluster is, need no end."""
        for worker in list(self._workers):
            with suppress(Exception):
                self.dismiss(worker)

    def _answer(self, reference: Any) -> Answer:
        try:
            return Came(self._ray.get(reference))
        except self._ray.exceptions.RayError as error:
            return Lost(" ".join(str(error).split()))

    def _ask(self, reference: Any) -> int:
        self._asked[reference] = self._next()
        return self._asked[reference]

    def _next(self) -> int:
        self._number += 1
        return self._number


def _sent(ray: Any) -> Any:
    """The actor's class, which Ray sends with its code."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(_ray_actor)
    return ray.remote(_ray_actor.Actor)


def main() -> None:
    """Serves whoever started this process, until that one ends it or is gone.

    The first question holds the arguments of `ray.init`, each further one a method of `Driver` and its arguments; see
    `packed` for the answers.
    """
    inbox, outbox = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # Ray's processes inherit it, and one that reads would take questions
    os.dup2(2, 1)  # what Ray prints is no answer
    questions: SimpleQueue[tuple[str, Any]] = SimpleQueue()
    connected = threading.Event()
    threading.Thread(target=_read, args=(inbox, questions, connected), daemon=True).start()
    served = _Served(connected)
    while (question := questions.get())[0] != CLOSE:
        method, given = question
        with suppress(BrokenPipeError):  # then nobody asks any more either
            outbox.write(_ray_actor.packed(served.answer, method, given))
            outbox.flush()
    served.close()


class _Served:
    """A driver that is connected by the first question."""

    def __init__(self, connected: threading.Event) -> None:
        self._connected = connected
        self._options: dict[str, Any] = {}
        self._driver: Driver | None = None

    def answer(self, method: str, given: Sequence[Any]) -> Any:
        try:
            if self._driver is not None:
                return getattr(self._driver, method)(*given)
            (self._options,) = given
            self._driver = _connected(self._options)
            self._connected.set()
        except Exception as error:
            error.add_note(traceback.format_exc())  # a traceback does not travel
            raise

    def close(self) -> None:
        if self._driver is None:
            return
        import ray

        self._driver.close()
        ray.shutdown()
        if "_temp_dir" in self._options and not self._options["log_to_driver"]:
            shutil.rmtree(self._options["_temp_dir"], ignore_errors=True)


def _read(inbox: BinaryIO, questions: "SimpleQueue[tuple[str, Any]]", connected: threading.Event) -> None:
    """Takes what is asked; ends the process where the other one is gone and Ray, which may be stuck, does not end."""
    with suppress(Exception):  # the end, also amid a question
        while True:
            questions.put(pickle.load(inbox))
    questions.put((CLOSE, ()))
    if connected.is_set():
        time.sleep(_LAST)
    os._exit(1)


def _connected(options: dict[str, Any]) -> Driver:
    _deaf()
    import ray

    ray.init(**options)
    _deaf()  # Ray takes SIGTERM for itself
    return Driver(ray)


def _deaf() -> None:
    """Who started this process is told to stop, and says so here; SIG_IGN would be handed down to Ray's processes."""
    for number in _SIGNALS:
        signal.signal(number, lambda *_: None)
