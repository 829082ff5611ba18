"""What any history of runs is made of, whatever the runs are about.

The executors, the dispatcher and the tables are the real ones. The host is a model.
"""

from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from cronhop.domain.run import State
from cronhop.errors import Conflict
from tests.host import Host
from tests.world import THOROUGH, Killed, on_moto

# What is drawn may not hang on what there is: ids are random, so the same choices
# lead to another order each time.
WHICH = st.integers(0, 999)


def run_machine(machine, *, examples):
    """Try so many histories, more where there is time for them."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples * THOROUGH,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        ),
    )


class Machine(RuleBasedStateMachine):
    """A world, messages on their way, and people who start and cancel runs.

    Who derives from it puts `tasks` on record, has a `drain` that lets everything
    flow until nothing is open, and a `check` of what the ledger says then.
    """

    def __init__(self):
        super().__init__()
        self.stack = ExitStack()
        self.world = self.stack.enter_context(on_moto())
        self.host = Host(self.world)
        self.host.install(self.stack.enter_context(pytest.MonkeyPatch.context()))
        self.pending, self.ended, self.asked = [], {}, set()

    def teardown(self):
        with self.stack:
            self.drain()
            self.check()

    @rule(number=st.integers(0, 2))
    def run_now(self, number):
        self.world.tasks.run(
            self.tasks[number].task_id, by="ada", now=self.world.clock()
        )

    @rule()
    def tick(self):
        self.world.tick()

    @rule(
        which=st.lists(WHICH, min_size=1, max_size=4),
        again=st.booleans(),
        death=st.none() | st.integers(0, 60),
        lossy=st.none() | st.integers(0, 30),
    )
    def deliver(self, which, again, death, lossy):
        """Hand over messages; the executor may die, or not hear an answer."""
        self.pending += [message for message, _ in self.world.messages()]
        for one in which[: len(self.pending)]:
            number = one % len(self.pending)
            message = self.pending[number] if again else self.pending.pop(number)
            self.world.deathtrap.set(death)
            self.world.deathtrap.set_lossy(lossy)
            try:
                self.world.handle(message)
            except Killed:
                self.world.restart()
            finally:
                self.world.deathtrap.set(None)
                self.world.deathtrap.set_lossy(None)

    @rule(which=WHICH)
    def lose(self, which):
        if self.pending:
            self.pending.pop(which % len(self.pending))

    @rule(seconds=st.sampled_from([1, 5, 20, 60, 125, 300]))
    def pass_time(self, seconds):
        self.world.clock.move(seconds=seconds)

    @rule(which=WHICH)
    def cancel(self, which):
        rows = self.world.all_runs()
        if rows:
            run = rows[which % len(rows)]
            try:
                self.world.runs.cancel(run.run_id, by="ada", now=self.world.clock())
            except Conflict:
                assert run.state.is_terminal
            else:
                self.asked.add(run.run_id)

    @invariant()
    def terminal_is_final(self):
        for row in self.world.rows("runs"):
            if "state" in row and State(row["state"]["S"]).is_terminal:
                end = (row["state"], row.get("reason"))
                assert self.ended.setdefault(row["run_id"]["S"], end) == end

    @invariant()
    def nothing_starts_twice(self):
        assert all(command.starts <= 1 for command in self.host.commands.values())

    def is_open(self):
        """Whether the tick has anything to come back to."""
        rows = self.world.rows("executions") + self.world.rows("runs")
        return any("next_poll" in row or "check_at" in row for row in rows)
