"""Twenty thousand tasks in one minute, on tables and a queue that are no dictionary."""

import os
import time

import pytest

from cronhop.domain.ids import slot_run_id
from local.ministack import Ministack
from tests.crowd import Crowd
from tests.sshd import free_port

DUE = 20_000
BUDGET_S = 50  # of a tick: the function ends after 55


@pytest.fixture
def crowd(tmp_path):
    before = dict(os.environ)
    ministack = Ministack(tmp_path, free_port())
    ministack.start()
    yield Crowd(ministack.url)
    ministack.stop()
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.timeout(1200)
def test_twenty_thousand_tasks_in_a_minute(crowd):
    """All are started once, the oldest first, and no tick takes longer than it may."""
    slots = crowd.add_tasks(DUE, seconds=60)
    due = {slot_run_id(task_id, slot): slot for task_id, slot in slots.items()}
    took, started, calls = [], [], crowd.deathtrap.calls
    cpu = time.process_time()
    while not took or started:
        began = time.monotonic()
        started = crowd.tick(stop_at=began + BUDGET_S).started
        took.append(time.monotonic() - began)
    cpu = time.process_time() - cpu
    calls = crowd.deathtrap.calls - calls

    assert sorted(crowd.sent) == sorted(due)
    order = [due[run_id] for run_id in crowd.sent]
    assert order == sorted(order)
    assert max(took) < BUDGET_S + 5
    waiting = crowd.sqs.get_queue_attributes(
        QueueUrl=crowd.url, AttributeNames=["All"]
    )["Attributes"]
    assert (
        sum(
            int(waiting[f"ApproximateNumberOfMessages{which}"])
            for which in ("", "Delayed")
        )
        == DUE
    )
