"""Measures the checkpoints of a job on the machines of a Ray cluster; what comes back is stored here."""

import pickle
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from lm_probe.model_adapters import UserError, counted
from lm_probe.sweeps._desk import Desk
from lm_probe.sweeps._job import Job, key_of
from lm_probe.sweeps._plan import Visit
from lm_probe.sweeps._ray import Spread
from lm_probe.sweeps._ray_cluster import cluster, cluster_words, have_gpus, rooms
from lm_probe.sweeps._ray_driver import Answer, Driver, Lost
from lm_probe.sweeps._ray_introduction import introduction
from lm_probe.sweeps._records import CheckpointKey
from lm_probe.sweeps._tokens import TextError
from lm_probe.sweeps._work import Event, Failed, Measured, Now, failed

_PATIENCE = 2.0  # seconds without news, after which the cluster is asked which machines came or went
_LONG = 60.0  # seconds for a first worker to begin, before that is remarked on


def measure_on_cluster(job: Job, spread: Spread, desk: Desk, say: Callable[[str], None]) -> None:
    """Measures what each checkpoint still lacks, on as many workers as the cluster has room for.

    Args:
        job: what is measured.
        spread: on which cluster.
        desk: takes what comes.
        say: takes which cluster it is, and how many workers begin.

    Raises:
        UserError: there is no such cluster, no machine of it can hold a worker or is fit to measure, or the text or
            the store cannot be used.
    """
    say(f"{cluster_words(spread)} ...")
    with cluster(spread, debug=job.config.debug) as driver:
        _Pool(driver, job, spread, desk, say).run()


@dataclass(eq=False)
class _Line:
    """One worker, and what it is at."""

    node: str
    worker: int
    host: str = ""
    visit: Visit | None = None
    key: CheckpointKey | None = None
    """Of what it measures; None while it looks."""
    doing: str = "opening"
    stored: bool = False
    steps: Generator[int, Any, None] = field(init=False)
    """Its work: gives the number of a question, and is sent the answer."""


class _Pool:
    def __init__(self, driver: Driver, job: Job, spread: Spread, desk: Desk, say: Callable[[str], None]) -> None:
        self._driver = driver
        self._say = say
        self._spread = spread
        self._desk = desk
        self._gpus = _gpus(driver, job, spread)
        driver.put(_packed(job))  # with the text
        self._queue = deque(job.visits)
        self._most_pieces = max(map(job.pieces, job.visits), default=0)  # of a checkpoint
        self._lines: dict[int, _Line] = {}  # by the question that is waited for
        self._rooms: dict[str, int] = {}
        self._refused: dict[str, str] = {}
        self._stillborn: Counter[str] = Counter()
        self._died: defaultdict[Visit, list[str]] = defaultdict(list)
        self._originals = dict(desk.copies())  # what waits for another that holds the same, to take over its values
        self._met = False
        self._noticed = False
        self._begun = time.monotonic()

    def run(self) -> None:
        """Until no checkpoint is left."""
        self._hire()
        workers, machines = len(self._lines), len({line.node for line in self._lines.values()})
        self._say(f"{counted(workers, 'worker')} on {counted(machines, 'machine')}: loading torch and transformers ...")
        while self._queue or self._at_work():
            self._hire()
            for question, answer in self._driver.answers(_PATIENCE):
                self._turn(question, answer)

    def _hire(self) -> None:
        """Starts workers where there is room and a checkpoint for them."""
        if not self._queue:
            return
        found = rooms(self._driver.nodes(), self._spread.cpus, self._gpus)
        self._rooms = {node: room for node, room in found.items() if node not in self._refused}
        while (node := self._vacancy()) is not None:
            self._start(node)
        if not self._lines and found:
            raise UserError(f"no machine of the cluster is fit to measure: {'; '.join(self._refused.values())}")
        if not self._lines:
            self._wait_for_machines()
        elif not self._met and time.monotonic() > self._begun + _LONG:
            waiting = counted(len(self._lines), "worker")
            self._notice(f"{waiting} waiting for the cluster: are all its CPUs and GPUs in use?")

    def _vacancy(self) -> str | None:
        """The emptiest machine that has room, if it may measure more than workers are about to take."""
        held = Counter(line.node for line in self._lines.values())
        coming = sum(line.visit is None for line in self._lines.values())
        free = [
            node
            for node, room in self._rooms.items()
            if held[node] < room and sum(self._may(node, visit) for visit in self._queue) > coming
        ]
        return min(free, key=held.__getitem__, default=None)

    def _may(self, node: str, visit: Visit) -> bool:
        """Where a worker died at a checkpoint, another machine is tried first; a copy comes after its original."""
        original = self._originals.get(visit)
        if original in self._queue or any(line.visit == original for line in self._at_work()):
            return False
        died = self._died[visit]
        return node not in died or all(other in died for other in self._rooms)

    def _at_work(self) -> list[_Line]:
        return [line for line in self._lines.values() if line.visit is not None]

    def _wait_for_machines(self) -> None:
        asked = counted(self._spread.cpus, "CPU")
        asked += f" and {self._gpus:g} GPU{'s' * (self._gpus > 1)}" if self._gpus else ""
        if not self._met:
            raise UserError(
                f"no machine of the cluster has {asked} for a worker: lower --cpus-per-task or --gpus-per-task"
            )
        self._notice(f"no machine is left that has {asked} for a worker: waiting for one")
        time.sleep(_PATIENCE)

    def _notice(self, line: str) -> None:
        """Says something once, until a worker begins."""
        if not self._noticed:
            self._noticed = True
            self._desk.progress.say(line)

    def _start(self, node: str) -> None:
        line = _Line(node, self._driver.hire(node, self._spread.cpus, self._gpus))
        line.steps = self._serve(line)
        self._lines[next(line.steps)] = line

    def _call(self, line: _Line, method: str, *given: Any) -> int:
        return self._driver.call(line.worker, method, pickle.dumps(given))

    def _turn(self, question: int, answer: Answer) -> None:
        """Hands a worker's answer to its line, and waits for the next."""
        line = self._lines.pop(question)
        if isinstance(answer, Lost):
            self._lost(line, _reason(answer.reason))
        else:
            failed, value = pickle.loads(answer.value)
            if isinstance(value, TextError) and failed:
                raise value
            if failed:  # in our code over there
                self._stumbled(line, value)
            else:
                with suppress(StopIteration):
                    self._lines[line.steps.send(value)] = line
                    return
        self._driver.dismiss(line.worker)

    def _serve(self, line: _Line) -> Generator[int, Any, None]:
        line.host, problem = yield self._driver.introduce(line.worker, introduction(self._gpus))
        problem = problem or (yield self._driver.begin(line.worker, self._spread.cpus, self._gpus))
        if problem:
            self._refuse(line, problem)
            return
        if not self._met:
            self._desk.progress.begin(at_once=(1 + len(self._lines)) * self._most_pieces)
        self._met, self._noticed = True, False
        while (visit := self._take(line)) is not None:
            looked, notices = yield self._call(line, "look", visit, self._desk.wants_look(visit))
            self._desk.tell(notices)
            if isinstance(looked, Failed):
                self._desk.fail(visit, looked)
            elif not (yield from self._measure(line, visit, looked)):
                self._queue.appendleft(visit)
                continue
            self._leave(line, visit)

    def _measure(self, line: _Line, visit: Visit, looked: Any) -> Generator[int, Any, bool]:
        """False where another worker is just measuring the same, and it is to come after that."""
        try:
            key = key_of(visit, looked.checkpoint)
            pending = self._desk.lacks(visit, key, looked)
        except UserError as error:
            if type(error) is not UserError:  # the store's: nothing more can be kept
                raise
            self._desk.fail(visit, failed("", error))
            return True
        if not pending:
            return True
        if (original := self._at_hand(key)) is not None:
            self._originals[visit] = original
            return False
        line.key = key
        event: Event | None = yield self._call(line, "measure", visit, looked.checkpoint, pending)
        while event is not None:
            coming = self._call(line, "next")  # the worker goes on while this is stored
            if isinstance(event, Now):
                line.doing = event.doing
            line.stored |= isinstance(event, Measured)
            self._desk.take(visit, key, event)
            event = yield coming
        return True

    def _at_hand(self, key: CheckpointKey) -> Visit | None:
        """A checkpoint that holds the same and is being measured."""
        same = self._desk.same_as(key)
        at_hand = ((line.visit, line.key) for line in self._at_work() if line.key is not None)
        return next((visit for visit, one in at_hand if one.model == key.model and one.identity in same), None)

    def _take(self, line: _Line) -> Visit | None:
        visit = next((visit for visit in self._queue if self._may(line.node, visit)), None)
        if visit is not None:
            self._queue.remove(visit)
        line.visit, line.key, line.doing, line.stored = visit, None, "opening", False
        return visit

    def _leave(self, line: _Line, visit: Visit) -> None:
        line.visit = None
        self._desk.leave(visit)

    def _stumbled(self, line: _Line, error: Exception) -> None:
        if line.visit is None:
            self._refuse(line, failed("", error).line)
        else:
            self._desk.fail(line.visit, failed("", error))
            self._leave(line, line.visit)

    def _lost(self, line: _Line, reason: str) -> None:
        """Another worker asks for what the dead one's checkpoint still lacks; after some deaths nobody does."""
        visit = line.visit
        if visit is None:
            self._stillborn[line.node] += 1
            if self._stillborn[line.node] >= self._spread.tries:
                self._refuse(line, f"workers die there as they start ({reason})")
            return
        died = self._died[visit]
        if line.stored:
            died.clear()
        died.append(line.node)
        where = f"at {line.doing} on {line.host}"
        if len(died) < self._spread.tries:
            self._desk.progress.say(f"{visit.name}: its worker died {where}, another one goes on: {reason}")
            self._queue.appendleft(visit)
            return
        times = f"{len(died)} times" if len(died) > 1 else "once"
        said = f"its worker died {times} (out of memory?): {where}: {reason}"
        self._desk.fail(visit, Failed("", said, f"{said}\n"))
        self._leave(line, visit)

    def _refuse(self, line: _Line, problem: str) -> None:
        """Gives a machine no more work."""
        if line.node not in self._refused:
            self._refused[line.node] = f"{line.host or line.node}: {problem}"
            self._desk.progress.say(f"not used: {self._refused[line.node]}")


def _gpus(driver: Driver, job: Job, spread: Spread) -> float:
    if spread.gpus is not None:
        return spread.gpus
    return float(job.config.on_gpu or (job.config.device != "cpu" and have_gpus(driver.nodes())))


def _packed(job: Job) -> bytes:
    """By Ray's own pickle, which takes functions along that a probe may hold."""
    from ray import cloudpickle

    packed: bytes = cloudpickle.dumps(job)
    return packed


def _reason(said: str) -> str:
    """What Ray knows of a death, without its advice."""
    for before in ("Worker exit detail: ", "has died. "):
        said = said.rpartition(before)[2]
    return said.partition(" Some common causes")[0][:240].rstrip(". ")
