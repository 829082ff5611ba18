"""Random histories: whatever happens in whatever order, the ledger holds.

Ticks come, come twice or do not come, messages are delivered up to three times, in
any order or not at all, the process dies at any step, users edit the task, time
goes on. Afterwards ticks and messages flow again, and every slot must be accounted
for: one row that has ended, at most one start.
"""

import random
from dataclasses import replace
from datetime import timedelta

import pytest

from cronhop.domain.run import State
from cronhop.domain.schedule import slots
from cronhop.domain.task import Overlap
from tests.world import THOROUGH, Killed

STEPS = 40


class History:
    """One random history of two tasks: one is left alone, one is edited."""

    def __init__(self, world, server, marks, seed):
        self.world = world
        self.marks = marks
        self.random = random.Random(seed)
        self.pending = []
        self.first = world.clock()
        command = f'echo x >> "{marks}/$CRONHOP_EXECUTION"'
        self.quiet = self.add(server, command, "*/2 * * * *")
        self.edited = self.add(server, command, "*/3 * * * *")

    def add(self, server, command, cron):
        return self.world.add_task(
            server,
            command=command,
            cron=cron,
            overlap=self.random.choice(list(Overlap)),
            start_deadline_s=self.random.choice([60, 600, 7200]),
        )

    def go(self):
        """Let random things happen."""
        events = [
            (5, self.tick),
            (6, self.deliver),
            (6, self.pass_time),
            (2, self.run_now),
            (1, self.outage),
            (1, self.edit),
            (1, self.lose),
        ]
        happenings = self.random.choices(
            [event for _, event in events], [weight for weight, _ in events], k=STEPS
        )
        for happening in happenings:
            if self.random.random() < 0.3:
                self.world.deathtrap.set(self.random.randrange(45))
            try:
                happening()
            except Killed:
                self.world.restart()
            finally:
                self.world.deathtrap.set(None)

    def tick(self):
        self.world.tick()

    def deliver(self):
        self.pending += [message for message, _ in self.world.messages()]
        self.random.shuffle(self.pending)
        for _ in range(min(len(self.pending), self.random.randint(1, 4))):
            message = self.pending[-1]
            if self.random.random() < 0.6:
                self.pending.pop()  # else it is delivered again
            self.world.handle(message)

    def pass_time(self):
        self.world.clock.move(seconds=self.random.choice([5, 30, 60, 90, 200]))

    def outage(self):
        self.world.clock.move(minutes=self.random.choice([7, 40, 300]))

    def run_now(self):
        task = self.random.choice([self.quiet, self.edited])
        self.world.tasks.run(task.task_id, by="tester", now=self.world.clock())

    def edit(self):
        task = self.world.tasks.get(self.edited.task_id)
        schedule = task.definition.schedule
        crons = ["*/3 * * * *", "*/5 * * * *", "1-59/7 * * * *"]
        definition = self.random.choice(
            [
                replace(task.definition, enabled=not task.definition.enabled),
                replace(
                    task.definition,
                    schedule=replace(schedule, cron=self.random.choice(crons)),
                ),
            ]
        )
        self.world.tasks.change(
            task.task_id, definition, version=None, by="tester", now=self.world.clock()
        )

    def lose(self):
        self.world.messages()
        self.pending.clear()

    def drain(self):
        """Let everything flow again until nothing is open."""
        for _ in range(40):
            self.world.clock.move(minutes=1)
            self.world.tick()
            self.world.deliver()
        self.last = self.world.clock()

    def check(self):
        """Assert the promise."""
        rows = self.world.all_runs()
        settled = [row for row in rows if row.due <= self.last - timedelta(minutes=8)]
        assert [row for row in settled if not row.state.is_terminal] == []
        for row in rows:
            starts = [
                len(file.read_text().splitlines())
                for file in self.marks.glob(f"{row.run_id}-*")
            ]
            assert starts in ([], [1]), row
            if row.state is State.COMPLETED:
                assert starts == [1], row
            if row.state in {State.SKIPPED, State.MISSED, State.PENDING}:
                assert starts == [], row
            assert row.state is not State.LOST, row
            assert row.state is not State.FAILED or starts == [], row

        schedule = self.quiet.definition.schedule
        until = self.last - timedelta(minutes=8)
        expected = set(slots(schedule, self.first, until, limit=10_000)) - {self.first}
        ours = [row for row in rows if row.task_id == self.quiet.task_id and row.slot]
        accounted = []
        for row in ours:
            accounted += slots(schedule, row.slot, row.missed_to or row.slot)
        assert len(accounted) == len(set(accounted))
        assert expected <= set(accounted)


@pytest.mark.parametrize("seed", range(5 * THOROUGH))
def test_any_history(world, sshd, tmp_path, seed):
    """Every slot has one row that ends; its command started at most once."""
    server = world.add_server(sshd)
    history = History(world, server, tmp_path, seed)

    history.go()
    history.drain()

    history.check()
