"""Any history of executions, against a plain model of the host.

The executors, the dispatcher and the tables are the real ones. The host is a model
of what runner.sh promises: one guard an attempt, an end that is published once,
a cancel that takes the guard or ends the command. That runner.sh keeps this is
shown elsewhere, on a real sshd.
"""

import os
from dataclasses import replace

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
from cronhop.domain.run import State
from cronhop.domain.task import Overlap
from cronhop.errors import Conflict
from cronhop.store import executions, servers
from tests.host import TIMEOUT_S, Host
from tests.world import REGION, THOROUGH, Killed, World

GRACE_S, LOST_AFTER_S = 10, 3600
# What is drawn may not hang on what there is: ids are random, so the same choices
# lead to another order each time.
WHICH = st.integers(0, 999)
RETRY = Retry(max_attempts=3, interval_s=20, backoff=3.0)


class Executions(RuleBasedStateMachine):
    """Runs of three tasks on a server with two places."""

    def __init__(self):
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            self.patch.setenv(name, "testing")
        self.patch.setenv("AWS_DEFAULT_REGION", REGION)
        self.aws = mock_aws()
        self.aws.start()
        environ = dict(os.environ)
        self.world = World(environ)
        self.host = Host(self.world)
        self.host.install(self.patch)
        self.pending = []
        self.ended = {}
        self.asked = set()
        self.was_down = self.was_rebooted = False

    def teardown(self):
        try:
            self.drain()
            self.check()
        finally:
            self.aws.stop()
            self.patch.undo()

    @initialize()
    def begin(self):
        self.server = self.world.add_server(max_concurrency=2)
        changes = {
            "timeout_s": TIMEOUT_S,
            "kill_grace_s": GRACE_S,
            "lost_after_s": LOST_AFTER_S,
            "start_deadline_s": 1800,
            "overlap": Overlap.ALLOW,
        }
        self.tasks = [
            self.world.add_task(self.server, **changes),
            self.world.add_task(self.server, **changes, retry=RETRY),
            self.world.add_task(
                self.server, **changes, retry=replace(RETRY, on=(State.TIMEOUT,))
            ),
        ]

    @rule(number=st.integers(0, 2))
    def run_now(self, number):
        self.world.tasks.run(
            self.tasks[number].task_id, by="ada", now=self.world.clock()
        )

    @rule()
    def tick(self):
        self.world.tick()

    @rule(
        which=WHICH,
        again=st.booleans(),
        death=st.none() | st.integers(0, 60),
        lossy=st.none() | st.integers(0, 30),
    )
    def deliver(self, which, again, death, lossy):
        """Hand over a message; the executor may die, or not hear an answer."""
        self.pending += [message for message, _ in self.world.messages()]
        if not self.pending:
            return
        number = which % len(self.pending)
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

    @rule()
    def lose(self):
        if self.pending:
            self.pending.pop()

    @rule(seconds=st.sampled_from([1, 5, 20, 60, 125, 300]))
    def pass_time(self, seconds):
        self.world.clock.move(seconds=seconds)

    @rule(which=WHICH, code=st.sampled_from([0, 0, 1, 3]))
    def command_ends(self, which, code):
        if self.host.running:
            command = self.host.running[which % len(self.host.running)]
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

    @rule(which=WHICH)
    def look(self, which):
        rows = [run for run in self.world.all_runs() if run.targets]
        if rows:
            run = rows[which % len(rows)]
            if executions.get(run.run_id, self.server.server_id):
                self.world.runs.poll(
                    run.run_id, self.server.server_id, now=self.world.clock()
                )

    @rule()
    def host_goes_or_comes(self):
        self.host.is_up = not self.host.is_up
        self.was_down = True

    @rule()
    def reboot(self):
        for command in self.host.running:
            command.how, command.ended_at = "lost", self.world.clock()
        self.was_rebooted = True

    @invariant()
    def terminal_is_final(self):
        for row in self.world.rows("runs"):
            if State(row["state"]["S"]).is_terminal:
                end = (row["state"], row.get("reason"))
                assert self.ended.setdefault(row["run_id"]["S"], end) == end

    @invariant()
    def nothing_starts_twice(self):
        assert all(command.starts <= 1 for command in self.host.commands.values())

    def drain(self):
        """Let everything flow again until nothing is open."""
        self.host.is_up = True
        self.pending.clear()
        for _ in range(60):
            self.world.deliver()
            polled = [
                row for row in self.world.rows("executions") if "next_poll" in row
            ]
            if not polled and not any(
                "check_at" in row for row in self.world.rows("runs")
            ):
                break
            self.world.clock.move(minutes=2)
            self.world.tick()

    def is_settled(self, run):
        execution = executions.get(run.run_id, self.server.server_id)
        return run.state.is_terminal and not (execution and execution.next_poll)

    def check(self):
        """Assert that the ledger says what happened on the host."""
        server = servers.get(self.server.server_id)
        assert not server.active
        assert not server.waiting
        for run in self.world.all_runs():
            assert self.is_settled(run), run
            execution = executions.get(run.run_id, server.server_id)
            if execution is None:
                assert run.state in {State.CANCELLED, State.MISSED}, run
                continue
            assert execution.state is run.state, (run, execution)
            earlier = self.world.runs.attempts(execution)
            numbers = [one.attempt for one in earlier]
            assert numbers == list(range(1, execution.attempt)), (run, earlier)
            for one in earlier:
                key = replace(execution, attempt=one.attempt).key
                self.check_end(run, one, self.host.commands.get(key))
                assert one.state in {State.FAILED, State.TIMEOUT}
            self.check_end(run, execution, self.host.commands.get(execution.key))
        for key, command in self.host.commands.items():
            assert command.how != "running", key

    def check_end(self, run, ended, command):
        starts = command.starts if command else 0
        how = command.how if command else None
        expected = {
            State.COMPLETED: how == "exited" and command.code == 0,
            State.FAILED: (how == "exited" and ended.exit_code == command.code != 0)
            or (starts == 0 and ended.exit_code is None),
            State.TIMEOUT: how in {"timeout", "cancelled"},
            State.CANCELLED: run.run_id in self.asked
            and (how == "cancelled" or starts == 0),
            State.MISSED: starts == 0,
            State.SKIPPED: False,
            State.LOST: self.was_rebooted or self.was_down,
        }
        assert expected[ended.state], (run, ended, command)


@pytest.mark.timeout(300 * THOROUGH)
def test_any_history_of_executions():
    """At most one start an attempt; ends are final and true; nothing is left."""
    run_state_machine_as_test(
        Executions,
        settings=settings(
            max_examples=8 * THOROUGH,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        ),
    )
