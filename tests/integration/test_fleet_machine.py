"""Any history of runs on several servers, against a plain model of the hosts.

As in test_state_machine.py: the executors, the dispatcher and the tables are real.
"""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    rule,
)

from cronhop.domain.retry import Retry
from cronhop.domain.rollout import CANARY, TOO_MANY, Rollout, share_of
from cronhop.domain.run import State
from cronhop.domain.task import Overlap
from cronhop.store import executions, fleets
from tests.host import TIMEOUT_S
from tests.machine import Machine, run_machine
from tests.world import THOROUGH

SERVERS = 7
ROLLOUTS = (
    Rollout(max_parallel=3),
    Rollout(max_parallel=2, batches=True, max_failures=1, success_threshold="50%"),
    Rollout(max_parallel="50%", canary=2, max_failures="20%"),
)


class Fleets(Machine):
    """Runs of three tasks on the same servers, in steps of three kinds."""

    @initialize()
    def begin(self):
        self.crowd = [self.world.add_server() for _ in range(SERVERS)]
        changes = {"timeout_s": TIMEOUT_S, "kill_grace_s": 10}
        self.tasks = [
            self.world.add_task(
                *self.crowd,
                **changes,
                rollout=rollout,
                overlap=Overlap.ALLOW,
                retry=Retry(max_attempts=attempts, interval_s=20),
            )
            for rollout, attempts in zip(ROLLOUTS, (1, 1, 2), strict=True)
        ]

    @rule(count=st.integers(1, 7), code=st.sampled_from([0, 0, 0, 1]))
    def commands_end(self, count, code):
        for command in self.host.running[:count]:
            command.how, command.code = "exited", code
            command.ended_at = self.world.clock()

    @invariant()
    def no_more_run_than_may(self):
        for run in self.world.all_runs():
            running = [
                key
                for key, command in self.host.commands.items()
                if command.how == "running" and key.startswith(run.run_id)
            ]
            if running:
                most = self.rollout(run).max_parallel
                assert len(running) <= share_of(most, SERVERS, up=True)

    def rollout(self, run):
        return next(
            task.definition.rollout
            for task in self.tasks
            if task.task_id == run.task_id
        )

    def drain(self):
        """Let everything flow again until nothing is open."""
        self.pending.clear()
        for _ in range(200):
            self.world.deliver()
            for command in self.host.running:
                command.how, command.code = "exited", 0
                command.ended_at = self.world.clock()
            if not self.is_open():
                break
            self.world.clock.move(minutes=2)
            self.world.tick()

    def check(self):
        """Assert that every target has its outcome, and the run the one of them."""
        for run in self.world.all_runs():
            assert run.state.is_terminal, run
            if run.fleet is None:
                assert run.state in {State.CANCELLED, State.MISSED}, run
                continue
            self.check_targets(run, self.rollout(run))

    def check_targets(self, run, rollout):
        progress = fleets.progress(run)
        page = self.world.runs.executions(run, limit=100, after=None).items
        assert [one.server_id for one in page] == [
            server.server_id for server in self.crowd
        ]
        for position, shown in enumerate(page):
            row = executions.get(run.run_id, shown.server_id)
            # What is beyond the cursor was never touched, and says why.
            assert (row is None) == (position >= progress.sent), (run, position)
            assert shown.state.is_terminal
            if row:
                assert row.next_poll is None
                assert position in progress.ended[row.state]
            else:
                assert shown.attempt == 0
                assert shown.reason in {
                    CANARY,
                    TOO_MANY,
                    "cancelled by ada before it was started",
                }
        completed = progress.count(State.COMPLETED)
        if run.state is State.COMPLETED:
            needed = rollout.success_threshold or "100%"
            assert completed >= share_of(needed, SERVERS, up=True)
        if run.state is State.CANCELLED:
            assert run.run_id in self.asked
        if progress.stopped == CANARY:
            assert not all(one.state is State.COMPLETED for one in page[:2])


@pytest.mark.timeout(300 * THOROUGH)
def test_any_history_of_fleets():
    """At most one start a target; each has its outcome; no run stalls."""
    run_machine(Fleets, examples=2)
