"""Ray's driver: what a sweep asks of a cluster, in plain values; as a program, a process of its own.

Ray ends its driver where the Ray of the machine is gone, by `_exit` from a thread in C++, or waits a minute for it,
deaf to signals. So the process that stores is not the driver: it starts this one, writes what it asks to its standard
input and reads the answers from its standard output. Nothing that is measured is unpacked here.
"""

import os
import pickle
import signal
from contextlib import suppress
from typing import Any, NamedTuple

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Came(NamedTuple):
    """What a worker answered."""

    value: bytes


class Raised(NamedTuple):
    """What our code raised over there."""

    error: Exception


class Lost(NamedTuple):
    """A worker died, by Ray's account."""

    reason: str


Answer = Came | Raised | Lost


class Driver:
    """A connection with a cluster; workers and questions go by number."""

    def __init__(self, ray: Any) -> None:
        """Takes the `ray` module, connected."""
        self._ray = ray
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

        from lm_probe.sweeps._ray_actor import actor

        remote = self._ray.remote(actor()).options(
            num_cpus=cpus, num_gpus=gpus, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
        )
        number = self._next()
        self._workers[number] = remote.remote()
        return number

    def dismiss(self, worker: int) -> None:
        """Ends a worker, whatever it is at."""
        self._ray.kill(self._workers.pop(worker))

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
        except self._ray.exceptions.RayTaskError as error:
            return Raised(error.cause or RuntimeError(_in_a_line(error)))
        except self._ray.exceptions.RayError as error:
            return Lost(_in_a_line(error))

    def _ask(self, reference: Any) -> int:
        self._asked[reference] = self._next()
        return self._asked[reference]

    def _next(self) -> int:
        self._number += 1
        return self._number


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())


def main() -> None:
    """Serves whoever started this process, until that one closes the pipe or is gone.

    The first message holds the arguments of `ray.init`, each further one a method of `Driver` and its arguments. An
    answer says whether it is an error.
    """
    inbox, outbox = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what Ray prints is no answer
    driver: Driver | None = None
    try:
        while True:
            method, given = pickle.load(inbox)
            try:
                if driver is None:
                    driver, value = _connected(**given), None
                else:
                    value = getattr(driver, method)(*given)
                answer = pickle.dumps((False, value))
            except Exception as error:
                answer = _as_error(error)
            outbox.write(answer)
            outbox.flush()
    except (EOFError, BrokenPipeError):
        pass
    if driver is not None:
        import ray

        driver.close()
        ray.shutdown()


def _connected(**options: Any) -> Driver:
    _deaf()
    import ray

    ray.init(**options)
    _deaf()  # Ray takes SIGTERM for itself
    return Driver(ray)


def _deaf() -> None:
    """Who started this process is told to stop, and says so here; SIG_IGN would be handed down to Ray's processes."""
    for number in _SIGNALS:
        signal.signal(number, lambda *_: None)


def _as_error(error: Exception) -> bytes:
    try:
        return pickle.dumps((True, error))
    except Exception:  # what cannot travel
        return pickle.dumps((True, RuntimeError(f"{type(error).__name__}: {_in_a_line(error)}")))
