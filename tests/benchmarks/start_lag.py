"""From a slot to the first byte of its command: the lag of starts, on ministack.

The template is deployed as `make run` does it, and real sshds on loopback stand for
the hosts. The first act of a command is to write down the time. Tasks are put into
the tables, as to ask the API for each would take longer than all else; from there on
it is the whole way: tick, queue, event source, executor, SSH.

Emulator, executors, sshds and commands share this machine: what it makes of a crowd
is the rate of its processors, which on AWS each of them has for itself.
"""

from __future__ import annotations

import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cronhop.aws.session import Session
from cronhop.domain.ids import new_id, slot_run_id
from cronhop.domain.schedule import OnceSchedule
from cronhop.domain.targets import Targets
from cronhop.domain.task import CatchUp, Overlap, Script, Task, TaskDefinition, TaskKind
from cronhop.settings import Settings
from cronhop.store import connection, runs, tasks
from local.ministack import ACCESS_KEY, REGION
from local.stack import NAME, Stack
from tests.sshd import Sshd, free_port

HOSTS = 4
EXECUTORS = 4  # at once, ten runs each: more would only wait for the processors
FEW, CROWD, STEADY, MANY = 20, 100, 200, 1000
ROUNDS = 3  # of the few
CROWDS = 2  # of the crowd
STEADY_S = 20  # ten a second, which two processors can do
SPREAD_S = 60
LEFT_S = 180  # for what was not over in its time
WITHIN_S = {
    FEW: 30,
    CROWD: 45,
    STEADY: 60,
    MANY: 130,
}  # to be made, sent, started and ended


@dataclass(frozen=True, kw_only=True)
class Round:
    """What became of tasks that were due.

    | field  | meaning                                                    |
    |--------|------------------------------------------------------------|
    | count  | how many there were                                        |
    | lags   | seconds from slot to start of each that started, ascending |
    | gate_s | of these seconds, the median until its gate let it through |
    | took_s | from the first slot to the last start                      |
    """

    count: int
    lags: Sequence[float]
    gate_s: float
    took_s: float

    @property
    def median(self) -> float:
        return statistics.median(self.lags)

    @property
    def p99(self) -> float:
        return self.lags[-(-len(self.lags) * 99 // 100) - 1]

    def meets(self, median: float, p99: float = float("inf")) -> bool:
        """Return whether all started, with these lags."""
        return (
            len(self.lags) == self.count and self.median <= median and self.p99 <= p99
        )

    def __str__(self) -> str:
        if not self.lags:
            return f"none of {self.count} started in time"
        late = self.count - len(self.lags)
        return (
            f"median {self.median:6.2f} s ({self.gate_s:.2f} to the gate)  p99 {self.p99:6.2f} s"
            f"  max {self.lags[-1]:6.2f} s  {len(self.lags) / self.took_s:5.1f} runs/s"
            + (f"  {late} of {self.count} NOT STARTED in time" if late else "")
        )


class Bench:
    """A deployed stack with hosts, and tasks that write down when they start."""

    def __init__(self, stack: Stack, sshds: Iterable[Sshd], marks: Path) -> None:
        self._stack = stack
        self._marks = marks
        self._left: list[str] = []  # runs that were not over in their time
        self._servers = [self._make_server(sshd) for sshd in sshds]
        self._change_source(ScalingConfig={"MaximumConcurrency": EXECUTORS})
        os.environ.update(
            AWS_ENDPOINT_URL=stack.endpoint_url,
            AWS_ACCESS_KEY_ID=ACCESS_KEY,
            AWS_SECRET_ACCESS_KEY="ministack",
            AWS_DEFAULT_REGION=REGION,
            AWS_REGION=REGION,
            CRONHOP_TABLE_PREFIX=f"{NAME}-",
            CRONHOP_QUEUE_URL="none",
            CRONHOP_BUCKET="none",
            CRONHOP_SECRET_PREFIX="none/",
            CRONHOP_SHARDS="8",
        )
        settings = Settings.from_env()
        connection.connect(settings, Session(settings).botocore)

    def measure(self, count: int, *, within_s: float, seconds: int = 1) -> Round:
        """Let so many tasks become due within so many seconds, and watch them start.

        Returns when all have ended, or so long after they were made. Raises
        RuntimeError if one starts before its slot.
        """
        # They are written and sent at some two hundred a second.
        first = datetime.now(UTC) + timedelta(seconds=5 + count / 30)
        first = first.replace(microsecond=0)
        slots = {
            new_id(first): first + timedelta(seconds=number * seconds // count)
            for number in range(count)
        }
        until = time.monotonic() + within_s
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self._add, slots.items(), itertools.cycle(self._servers)))
        while self._stack.invoke("dispatcher", {})["started"]:
            pass
        if datetime.now(UTC) > first:
            print("  the tick itself was not done before the first slot", flush=True)
        _wait(lambda: len(self._started(slots)) == count, until)
        run_ids = [slot_run_id(task_id, slot) for task_id, slot in slots.items()]
        _wait(lambda: _are_over(run_ids), until)
        started = self._started(slots)
        lags = sorted(at - slots[one].timestamp() for one, at in started.items())
        if lags and lags[0] < 0:
            raise RuntimeError(f"one has started {-lags[0]:.3f} s before its slot")
        found = runs.get_many(run_ids).values()
        self._left = [] if _are_over(run_ids) else run_ids
        return Round(
            count=count,
            lags=lags,
            gate_s=statistics.median(
                (run.started_at - run.due).total_seconds()
                for run in found
                if run.started_at
            )
            if lags
            else 0,
            took_s=max(started.values(), default=0) - first.timestamp(),
        )

    def is_idle(self) -> bool:
        """Return whether all that was measured has ended; wait for it."""
        _wait(lambda: _are_over(self._left), time.monotonic() + LEFT_S)
        return _are_over(self._left)

    def stop(self) -> None:
        """Let no executor be called any more, whatever is left."""
        self._change_source(Enabled=False)

    def _change_source(self, **changes) -> None:
        functions = self._stack.client("lambda")
        sources = functions.list_event_source_mappings(FunctionName=f"{NAME}-executor")
        (source,) = sources["EventSourceMappings"]
        functions.update_event_source_mapping(UUID=source["UUID"], **changes)

    def _make_server(self, sshd: Sshd) -> str:
        name = f"bench-{sshd.port}"
        key = {"name": name, "private_key": sshd.private_key}
        server = {
            "name": name,
            "host": sshd.host,
            "port": sshd.port,
            "username": sshd.username,
            "credential": name,
            "host_keys": [sshd.host_key],
        }
        with self._stack.http() as api:
            api.post("/v1/credentials", json=key).raise_for_status()
            answer = api.post("/v1/servers", json=server).raise_for_status()
        return str(answer.json()["server_id"])

    def _add(self, due: tuple[str, datetime], server_id: str) -> None:
        task_id, slot = due
        mark = self._marks / task_id
        definition = TaskDefinition(
            name=task_id,
            kind=TaskKind.SCRIPT,
            spec=Script(command=f"date +%s.%N >{mark}.new; mv {mark}.new {mark}"),
            targets=Targets(server_ids=(server_id,)),
            schedule=OnceSchedule(at=slot),
            timeout_s=60,
            kill_grace_s=2,
            overlap=Overlap.SKIP,
            start_deadline_s=3600,
            catch_up=CatchUp.ONE,
            enabled=True,
        )
        now = datetime.now(UTC)
        task = Task(
            task_id=task_id,
            definition=definition,
            version=1,
            schedule_version=1,
            next_run=slot,
            active_run=None,
            invalid=None,
            created_by="bench",
            created_at=now,
            updated_at=now,
        )
        tasks.add(task)

    def _started(self, slots: Iterable[str]) -> dict[str, float]:
        """Return when those of the tasks began that did, in seconds of the epoch."""
        marks = {path.name for path in self._marks.iterdir()}
        return {
            one: float((self._marks / one).read_text())
            for one in marks.intersection(slots)
        }


def _are_over(run_ids: Sequence[str]) -> bool:
    found = runs.get_many(run_ids)
    return all(one in found and found[one].state.is_terminal for one in run_ids)


def _wait(condition: Callable[[], bool], until: float) -> None:
    """Wait until the condition holds, or until the time is over."""
    while not condition() and time.monotonic() < until:
        time.sleep(1)  # looking costs what is measured


def main() -> None:
    """Print the lags of a few tasks, of a crowd, and of what is spread over a minute."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (marks := directory / "marks").mkdir()
        (home := directory / "stack").mkdir()
        deployed = Stack(home, free_port())
        stack.callback(deployed.stop)
        deployed.up()
        sshds = [stack.enter_context(Sshd(max_startups="1000")) for _ in range(HOSTS)]
        bench = Bench(deployed, sshds, marks)
        stack.callback(bench.stop)
        print(
            f"\nfrom slot to command, {HOSTS} hosts, {EXECUTORS} executors at a time,"
            f" {os.cpu_count()} processors for all of them\n"
        )
        _measure(bench, FEW, "in one second, cold")
        for _ in range(ROUNDS):
            _measure(bench, FEW, "in one second, warm", goals=(1, 2.5))
        for _ in range(CROWDS):
            _measure(bench, CROWD, "in one second")
        _measure(bench, STEADY, "spread over 20 s", seconds=STEADY_S)
        _measure(bench, MANY, "spread over a minute", seconds=SPREAD_S, goals=(2,))
        _measure(bench, MANY, "in one second")


def _measure(
    bench: Bench,
    count: int,
    what: str,
    *,
    seconds: int = 1,
    goals: Sequence[float] = (),
) -> None:
    """Print a round, beside its goals: seconds of the median, and of the p99."""
    if not bench.is_idle():
        print(f"  {count:4} {what:22}not measured: the round before is not over")
        return
    found = bench.measure(count, within_s=WITHIN_S[count], seconds=seconds)
    line = f"  {count:4} {what:22}{found}"
    if goals:
        wanted = zip(("median", "p99"), goals, strict=False)
        line += "  goal " + ", ".join(f"{name} <= {goal} s" for name, goal in wanted)
        line += " met" if found.meets(*goals) else " MISSED"
    print(line, flush=True)


if __name__ == "__main__":
    main()
