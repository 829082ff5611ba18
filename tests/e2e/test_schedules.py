"""A user's way over what schedules can do, under the roles that the template gives.

No tick is waited for: slots within a minute are sent by the API, and where a tick
is to be seen it is asked for.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.sshd import Sshd
from local.stack import Stack

TERMINAL = {"completed", "failed", "cancelled", "timeout", "lost", "skipped", "missed"}
BATCH = 10  # tasks that are due at once are written in batches

Json = dict[str, Any]


def until(condition: Callable[[], Any], *, within_s: float = 120) -> Any:
    """Return the condition's value as soon as it is true."""
    end = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.2)
    return value


def rfc3339(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


instant = datetime.fromisoformat


def soon(seconds: float) -> datetime:
    """Return the whole second so far from now."""
    return datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)


class User:
    """Somebody who is logged in, with two servers, and tasks on the first of them."""

    def __init__(self, api: httpx.Client, sshd: Sshd, later: ExitStack) -> None:
        self._api = api
        self._later = later
        name = f"key-{uuid.uuid4()}"
        self.post("credentials", {"name": name, "private_key": sshd.private_key})
        server = {
            "host": sshd.host,
            "port": sshd.port,
            "username": sshd.username,
            "credential": name,
            "host_keys": sshd.host_keys,
        }
        self.servers = [
            self.post("servers", {"name": f"server {uuid.uuid4()}", **server})
            for _ in range(2)
        ]
        self.server_ids = [str(server["server_id"]) for server in self.servers]

    def get(self, path: str, **query: Any) -> Json:
        return self._done(self._api.get(f"/v1/{path}", params=query))

    def post(self, path: str, body: Json | None = None) -> Json:
        return self._done(self._api.post(f"/v1/{path}", json=body or {}))

    def put(self, path: str, body: Json) -> Json:
        return self._done(self._api.put(f"/v1/{path}", json=body))

    def patch(self, path: str, body: Json) -> Json:
        return self._done(self._api.patch(f"/v1/{path}", json=body))

    def delete(self, path: str) -> None:
        assert self._api.delete(f"/v1/{path}").status_code == 204

    def create(self, command: str, **changes: Any) -> str:
        """Return the id of a new task, which is removed after the test."""
        body = {
            "name": f"task {uuid.uuid4()}",
            "spec": {"command": command},
            "targets": {"server_ids": self.server_ids[:1]},
        }
        task_id = str(self.post("tasks", body | changes)["task_id"])
        self._later.callback(self.delete, f"tasks/{task_id}")
        return task_id

    def run(self, task_id: str, body: Json | None = None) -> str:
        return str(self.post(f"tasks/{task_id}/run", body)["run_id"])

    def runs(self, task_id: str) -> list[Json]:
        """Return the task's runs, oldest first."""
        return list(reversed(self.get("runs", task_id=task_id, limit=100)["items"]))

    def is_running(self, run_id: str) -> bool:
        return bool(self.get(f"runs/{run_id}")["counts"].get("running"))

    def ended(self, run_id: str) -> Json:
        """Return the run once it has ended."""

        def look() -> Json | None:
            run = self.get(f"runs/{run_id}")
            return run if run["state"] in TERMINAL else None

        return dict(until(look))

    def first(self, task_id: str, is_meant: Callable[[Json], bool]) -> Json:
        """Return the first run of the task that is meant, once there is one."""
        return dict(until(lambda: next(filter(is_meant, self.runs(task_id)), None)))

    @staticmethod
    def _done(answer: httpx.Response) -> Json:
        assert answer.is_success, answer.text
        body: Json = answer.json()
        return body


@pytest.fixture
def user(api: httpx.Client, sshd: Sshd) -> Iterator[User]:
    with ExitStack() as later:
        yield User(api, sshd, later)


def test_every_slot_within_a_minute_is_started_once(
    user: User, stack: Stack, tmp_path: Path
) -> None:
    """From the first one after the task was made on; of many tasks as of one."""
    user.ended(user.run(user.create("true")))  # an executor is awake
    far = soon(105)  # beyond the look-ahead of the API, soon within that of a tick
    many = [user.create("true", schedule={"at": rfc3339(far)}) for _ in range(BATCH)]
    marks = tmp_path / "marks"
    marks.touch()

    task_id = user.create(
        f'echo "$CRONHOP_SLOT" "$(date +%s)" >>{marks}',
        schedule={"cron": "*/3 * * * * *", "seconds": True},
        overlap="allow",
    )

    made_at = instant(user.get(f"tasks/{task_id}")["created_at"])
    before = made_at.replace(second=made_at.second // 3 * 3, microsecond=0)
    first = [rfc3339(before + timedelta(seconds=seconds)) for seconds in (3, 6, 9)]
    until(lambda: set(first) <= set(marks.read_text().split()))
    user.patch(f"tasks/{task_id}", {"enabled": False})
    started = [line.split() for line in marks.read_text().splitlines()]
    assert min(slot for slot, _ in started) == first[0]
    assert len({slot for slot, _ in started}) == len(started)
    for slot, at in started:
        assert int(at) >= instant(slot).timestamp()

    until(lambda: datetime.now(UTC) > far - timedelta(seconds=89))
    assert stack.invoke("dispatcher", {})["failed"] == []

    assert [[run["slot"] for run in user.runs(one)] for one in many] == [
        [rfc3339(far)] for _ in many
    ]


def test_what_holds_back_slots(user: User) -> None:
    """A pause until its end, a calendar, the freeze: each says so, to whoever asks."""
    today = datetime.now(UTC).date()
    days = [today + timedelta(days=number) for number in (-1, 0, 1)]
    calendar = f"days-{uuid.uuid4()}"
    user.post("calendars", {"name": calendar, "dates": [str(day) for day in days]})
    often = {"every_s": 3}
    excluded = user.create("true", schedule={**often, "exclude_calendars": [calendar]})
    paused = user.create("true", schedule=often)
    ends_at = rfc3339(soon(8))
    asked = {"until": ends_at, "reason": "a move"}
    began_at = user.post(f"tasks/{paused}/pause", asked)["pause"]["at"]

    skipped = user.first(excluded, lambda run: run["state"] == "skipped")
    assert f"calendar {calendar} excludes" in skipped["reason"]
    why = user.get(f"tasks/{excluded}/why", at=skipped["slot"])
    assert (why["verdict"], why["run_id"]) == ("skipped", skipped["run_id"])
    assert calendar in why["because"]
    user.first(
        paused, lambda run: run["slot"] >= ends_at and run["state"] == "completed"
    )
    held = [
        run
        for run in user.runs(paused)
        if run["slot"] and instant(began_at) <= instant(run["slot"]) < instant(ends_at)
    ]
    assert held
    assert all(run["state"] == "skipped" for run in held)
    assert all(run["reason"].endswith(": a move") for run in held)

    user.put("freeze", {"reason": "release"})
    try:
        frozen = user.first(paused, lambda run: "frozen" in (run["reason"] or ""))
        assert frozen["state"] == "skipped"
        assert frozen["reason"].endswith(": release")
        after = rfc3339(soon(100))
        coming = user.get("schedule/upcoming", after=after, minutes=5)["slots"]
        reasons = [one["held_back"] for one in coming if one["task_id"] == paused]
        assert reasons
        assert all("frozen" in reason for reason in reasons)
        assert user.ended(user.run(paused))["state"] == "completed"
    finally:
        user.delete("freeze")


def test_runs_that_overlap_and_slots_of_the_past(user: User, tmp_path: Path) -> None:
    """One waits for its turn, one takes another's place; what was missed is made up."""
    gate, marks = tmp_path / "gate", tmp_path / "marks"
    wait = f"until [ -e {gate} ]; do sleep 0.1; done"
    queued = user.create(wait, overlap="queue")
    replaced = user.create(f"[ -e {gate} ] || sleep 300", overlap="replace")
    first, former = user.run(queued), user.run(replaced)
    for run_id in (first, former):
        until(partial(user.is_running, run_id))
    second = user.run(queued)
    until(lambda: user.get(f"runs/{second}")["reason"])
    assert first in user.get(f"runs/{second}")["reason"]
    gate.touch()
    user.post(f"runs/{first}/executions/{user.server_ids[0]}/poll")
    latter = user.run(replaced)

    assert user.ended(first)["state"] == user.ended(second)["state"] == "completed"
    assert user.ended(former)["state"] == "cancelled"
    assert latter in user.get(f"runs/{former}")["reason"]
    assert user.ended(latter)["state"] == "completed"

    task_id = user.create(
        f'echo "$CRONHOP_SLOT" >>{marks}', schedule={"cron": "0 4 * * *"}
    )
    day = soon(0).replace(hour=4, minute=0, second=0) - timedelta(days=3)
    slots = [rfc3339(day + timedelta(days=number)) for number in (-1, 0, 1)]
    window = {"from": slots[0], "to": slots[-1]}
    shown = user.post(f"tasks/{task_id}/backfill", window)
    assert [slot["at"] for slot in shown["slots"]] == slots
    assert user.runs(task_id) == []
    made = user.post(f"tasks/{task_id}/backfill", {**window, "dry_run": False})
    for slot in made["slots"]:
        assert user.ended(slot["run_id"])["state"] == "completed"
    assert marks.read_text().split() == slots


def test_a_run_elsewhere_and_again_where_it_failed(user: User) -> None:
    """By hand on both servers; the retry is of the same, and on the other only."""
    _, other = user.server_ids
    task_id = user.create(f'case "$CRONHOP_EXECUTION" in *{other}*) exit 3;; esac')

    run = user.ended(user.run(task_id, {"targets": {"server_ids": user.server_ids}}))

    assert run["counts"] == {"completed": 1, "failed": 1}
    again = user.ended(user.post(f"runs/{run['run_id']}/retry")["run_id"])
    assert (again["trigger"], again["targets"]) == ("retry", [other])
    assert again["retry_of"] == run["run_id"]


def test_a_crontab_is_shown_and_made(user: User, api: httpx.Client) -> None:
    """What is shown is what is made, and runs as cron ran it."""
    name = f"count {uuid.uuid4()}"
    text = (
        "# m h dom mon dow command\nMAILTO=ops@example.org\n"
        'GREETING="hello world"\nCRON_TZ=Europe/Berlin\n\n'
        f'# {name}\n30 2 * * mon-fri echo "$GREETING"; wc -l%one%two\n'
    )
    body = {"text": text, "server_ids": user.server_ids[:1]}
    (shown,) = user.post("import/crontab", body)["tasks"]
    assert (shown["task"]["name"], shown["task_id"]) == (name, None)
    schedule = shown["task"]["schedule"]
    asked = {"schedule": schedule, "after": "2027-03-27T12:00:00Z", "count": 1}
    preview = user.post("schedule/preview", asked)
    assert [slot["at"] for slot in preview["slots"]] == ["2027-03-29T00:30:00Z"]

    (made,) = user.post("import/crontab", {**body, "dry_run": False})["tasks"]

    task = user.get(f"tasks/{made['task_id']}")
    assert task["schedule"]["cron"] == schedule["cron"]
    run = user.ended(user.run(made["task_id"]))
    path = f"runs/{run['run_id']}/executions/{user.server_ids[0]}/output"
    assert user.get(path)["data"].split() == ["hello", "world", "2"]
    assert api.post("/v1/import/crontab", json={**body, "dry_run": False}).is_error
    user.delete(f"tasks/{made['task_id']}")
