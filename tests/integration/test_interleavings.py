"""Two executors, a dispatcher and a user, step by step in any order.

Each call to AWS and each visit to the host waits for its turn; a seed decides who
is next, and who dies where. Random histories see what happens one after the other,
this what happens in between.
"""

import random
import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from cronhop.domain.ids import slot_run_id
from cronhop.domain.run import State
from cronhop.domain.schedule import CronSchedule
from cronhop.errors import CronhopError
from cronhop.ssh.connection import Connection
from cronhop.store import connection, executions, runs
from tests.world import THOROUGH, Killed


class Turns:
    """Lets threads take their steps one at a time, in an order drawn by lot."""

    def __init__(self, lot):
        self._lot = lot
        self._changed = threading.Condition()
        self._waiting = set()
        self._alive = set()
        self._next = None
        self._who = threading.local()
        self.steps = []
        self.errors = []

    def step(self, what):
        """Wait for my turn; die if this is where I die. Nobody's step is free."""
        name = getattr(self._who, "name", None)
        if name is None:
            return
        with self._changed:
            self._waiting.add(name)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._next == name)
            self._next = None
            self._waiting.discard(name)
            self.steps.append((name, what))
        self._who.left -= 1
        if self._who.left < 0:
            raise Killed

    def run(self, actors):
        """Run actors by name: (what it does, the step it dies at)."""
        threads = [
            threading.Thread(target=self._act, args=(name, *actor))
            for name, actor in actors.items()
        ]
        self._alive = set(actors)
        for thread in threads:
            thread.start()
        while self._alive:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._next is None and self._alive <= self._waiting
                )
                if self._alive:
                    self._next = self._lot.choice(sorted(self._waiting))
                    self._changed.notify_all()
        for thread in threads:
            thread.join()

    def _act(self, name, act, dies_at):
        self._who.name, self._who.left = name, dies_at
        try:
            act()
        except (Killed, CronhopError) as exc:
            self.steps.append((name, repr(exc)))
        except Exception as exc:  # noqa: BLE001  shown by the test
            self.errors.append((name, exc))
        finally:
            with self._changed:
                self._alive.discard(name)
                self._changed.notify_all()


def edit(world, task, lot):
    """Let a user change the task in one of four ways."""
    definition = world.tasks.get(task.task_id).definition
    elsewhere = CronSchedule(cron="3 * * * *")
    other = {
        "disable": replace(definition, enabled=False),
        "move": replace(definition, schedule=elsewhere),
        "rewrite": replace(definition, timeout_s=77),
    }
    what = lot.choice(["delete", *other])
    now = world.clock()
    if what == "delete":
        world.tasks.delete(task.task_id, version=None, now=now)
    else:
        world.tasks.change(
            task.task_id, other[what], version=None, by="tester", now=now
        )


@pytest.mark.parametrize("seed", range(16 * THOROUGH))
def test_any_interleaving(world, sshd, tmp_path, monkeypatch, seed):
    """One start at most, and run and execution end as the command did."""
    lot = random.Random(seed)
    turns = Turns(lot)
    real = Connection.run

    def visit(self, *args, **kwargs):
        turns.step("visit")
        answer = real(self, *args, **kwargs)
        turns.step("visited")
        return answer

    def call(event_name="", **kwargs):
        turns.step(event_name.rsplit(".", 1)[-1])

    monkeypatch.setattr(Connection, "run", visit)
    for client in (world.queue._client, connection._state["connection"].client):
        world.listen(client, call, first=True)
    server = world.add_server(sshd)
    marks = tmp_path / "marks"
    task = world.add_task(
        server,
        command=f"echo x >> {marks}",
        cron="*/5 * * * *",
        start_deadline_s=lot.choice([60, 600]),
    )
    world.clock.now = task.next_run
    world.tick()
    ((message, _), *_) = world.messages()

    def mortal():
        return lot.randrange(28) if lot.random() < 0.5 else 1000

    actors = {
        "executor 1": (lambda: world.handle(message), mortal()),
        "executor 2": (lambda: world.handle(message), mortal()),
        "user": (lambda: edit(world, task, lot), 1000),
    }
    if lot.random() < 0.5:
        actors["dispatcher"] = (world.tick, mortal())
    turns.run(actors)
    assert turns.errors == [], turns.steps

    run_id = slot_run_id(task.task_id, task.next_run)
    for _ in range(20):
        world.deliver()
        world.clock.move(minutes=1)
        world.tick()
    run = runs.get(run_id)
    execution = executions.get(run_id, server.server_id)
    starts = marks.read_text().count("x") if marks.exists() else 0
    others = [
        row
        for row in world.all_runs()
        if row.run_id != run_id and row.state is State.COMPLETED
    ]
    starts -= len(others)
    assert run.state.is_terminal, turns.steps
    assert starts == (1 if run.state is State.COMPLETED else 0), turns.steps
    if execution:
        assert execution.state is run.state, turns.steps
        assert execution.next_poll is None, turns.steps
    late = world.clock() - timedelta(minutes=10)
    for row in world.all_runs():
        assert row.state.is_terminal or row.due > late, row
