"""Any history of executions, against a plain model of the host.

The executors, the dispatcher and the tables are the real ones. The host is a model
of what runner.sh promises: one guard an attempt, an end that is published once,
a cancel that takes the guard or ends the command. That runner.sh keeps this is
shown elsewhere, on a real sshd.
"""

from dataclasses import replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from cronhop.domain.retry import Retry
from cronhop.domain.run import State
from cronhop.domain.task import Overlap
from cronhop.store import executions, servers
from tests.host import TIMEOUT_S
from tests.machine import WHICH, Machine, run_machine
from tests.world import THOROUGH

GRACE_S, LOST_AFTER_S = 10, 3600
RETRY = Retry(max_attempts=3, interval_s=20, backoff=3.0)


class Executions(Machine):
    """Runs of three tasks on a server with two places."""

    def __init__(self):
        super().__init__()
        self.was_down = self.was_rebooted = False

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

    @rule(which=WHICH, code=st.sampled_from([0, 0, 1, 3]))
    def command_ends(self, which, code):
        if self.host.running:
            command = self.host.running[which % len(self.host.running)]
            command.how, command.code = "exited", code
            command.ended_at = self.world.clock()

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

    def drain(self):
        """Let everything flow again until nothing is open."""
        self.host.is_up = True
        self.pending.clear()
        for _ in range(60):
            self.world.deliver()
            if not self.is_open():
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
    run_machine(Executions, examples=6)
