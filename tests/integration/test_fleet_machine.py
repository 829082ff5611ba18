"""Any history of runs on several servers, against a plain model of the hosts.

As in test_state_machine.py: the executors, the dispatcher and the tables are real.
"""

import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from moto import mock_aws

from cronhop.domain.retry import Retry
from cronhop.domain.rollout import CANARY, TOO_MANY, Rollout, share_of
from cronhop.domain.run import State
from cronhop.domain.task import Overlap
from cronhop.errors import Conflict
from cronhop.store import executions, fleets
from tests.host import TIMEOUT_S, Host
from tests.world import REGION, THOROUGH, Killed, World

SERVERS = 7
# What is drawn may not hang on what there is: ids are random, so the same choices
# lead to another order each time.
WHICH = st.integers(0, 999)
ROLLOUTS = (
    Rollout(max_parallel=3),
    Rollout(max_parallel=2, batches=True, max_failures=1, success_threshold="50%"),
    Rollout(max_parallel="50%", canary=2, max_failures="20%"),
)


class Fleets(RuleBasedStateMachine):
    """Runs of three tasks on the same servers, in steps of three kinds."""

    def __init__(self):
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            self.patch.setenv(name, "testing")
        self.patch.setenv("AWS_DEFAULT_REGION", REGION)
        self.aws = mock_aws()
        self.aws.start()
        self.world = World(dict(os.environ))
        self.host = Host(self.world)
        self.host.install(self.patch)
        self.pending, self.ended, self.asked = [], {}, set()

    def teardown(self):
        try:
            self.drain()
            self.check()
        finally:
            self.aws.stop()
            self.patch.undo()

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

    @rule(number=st.integers(0, 2))
    def run_now(self, number):
        now = self.world.clock()
        self.world.tasks.run(self.tasks[number].task_id, by="ada", now=now)

    @rule()
    def tick(self):
        self.world.tick()

    @rule(
        which=st.lists(WHICH, min_size=1, max_size=12),
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

    @rule(seconds=st.sampled_from([1, 20, 60, 125, 300]))
    def pass_time(self, seconds):
        self.world.clock.move(seconds=seconds)

    @rule(count=st.integers(1, 7), code=st.sampled_from([0, 0, 0, 1]))
    def commands_end(self, count, code):
        for command in self.host.running[:count]:
            command.how, command.code = "exited", code
            command.ended_at = self.world.clock()

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
            rows = self.world.rows("executions") + self.world.rows("runs")
            if not any("next_poll" in row or "check_at" in row for row in rows):
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
    run_state_machine_as_test(
        Fleets,
        settings=settings(
            max_examples=6 * THOROUGH,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        ),
    )
