"""Schedules through the API: what may be written, and what is refused."""

import pytest

from cronhop.store import tasks
from tests.integration.test_api import fields


@pytest.fixture
def server(world):
    """A server that nobody visits."""
    return world.add_server()


@pytest.fixture
def make(api, server):
    """Make a task with this schedule."""

    def make(schedule, **changes):
        body = {
            "name": "task",
            "spec": {"command": "true"},
            "targets": {"server_ids": [server.server_id]},
            "schedule": schedule,
            **changes,
        }
        return api("POST", "/v1/tasks", body)

    return make


@pytest.mark.parametrize(
    "schedule",
    [
        {"cron": "0 9 L * *"},
        {"cron": "0 9 * * FRI#2,5L", "timezone": "Europe/Berlin"},
        {"cron": "H H(2-5) * * *"},
        {"cron": "*/10 * * * * *", "seconds": True},
        {"every_s": 300},
        {"every_s": 300, "anchor": "2026-01-01T00:00:00Z"},
        {"at": "2099-06-01T09:00:00Z"},
        {
            "cron": "@daily",
            "starts_at": "2098-01-01T00:00:00Z",
            "ends_at": "2099-01-01T00:00:00Z",
        },
    ],
)
def test_a_schedule_comes_back_as_it_was_written(api, make, schedule):
    """Every form is taken, shown, and taken again as it is shown."""
    made = make(schedule)

    assert made.status == 201, made.body
    assert schedule.items() <= made.body["schedule"].items()
    assert made.body["next_run"]
    path = f"/v1/tasks/{made.body['task_id']}"
    again = api("PATCH", path, {"schedule": made.body["schedule"]})
    assert again.status == 200, again.body
    assert again.body["schedule"] == made.body["schedule"]
    assert again.body["next_run"] == made.body["next_run"]


def test_an_offset_is_written_as_utc(make):
    """Instants are one and the same, however they are spelt."""
    made = make({"at": "2099-06-01T11:00:00+02:00"})

    assert made.body["schedule"]["at"] == "2099-06-01T09:00:00Z"
    assert made.body["next_run"] == "2099-06-01T09:00:00Z"


@pytest.mark.parametrize(
    ("schedule", "field", "words"),
    [
        ({}, "schedule", "write one of cron, every_s, at"),
        ({"cron": "@daily", "every_s": 5}, "schedule", "write one of"),
        ({"cron": "0 9 15W * *"}, "schedule.cron", "write a day"),
        ({"cron": "0 0 9 * * *"}, "schedule.cron", "seconds: true"),
        ({"cron": "0 9 * * *", "seconds": True}, "schedule.cron", "six fields"),
        ({"every_s": 0}, "schedule.every_s", "from 1 to"),
        ({"every_s": 5, "seconds": True}, "schedule.seconds", "cron only"),
        (
            {"cron": "@daily", "anchor": "2026-01-01T00:00:00Z"},
            "schedule.anchor",
            "every_s only",
        ),
        ({"at": "2020-01-01T00:00:00Z"}, "schedule.at", "it has passed"),
        ({"at": "2099-01-01"}, "schedule.at", "RFC 3339"),
        ({"at": "2099-01-01T00:00:00"}, "schedule.at", "RFC 3339"),
        ({"at": "2099-02-30T00:00:00Z"}, "schedule.at", "no such time"),
        ({"at": "2099-01-01T00:00:00.5Z"}, "schedule.at", "whole seconds"),
        ({"at": 4070908800}, "schedule.at", "RFC 3339"),
        ({"at": "9999-01-01T00:00:00Z"}, "schedule.at", "write a year"),
        ({"at": "0001-01-01T00:00:00+14:00"}, "schedule.at", "no such time"),
        (
            {"at": "2099-01-01T00:00:00Z", "ends_at": "2099-01-02T00:00:00Z"},
            "schedule.ends_at",
            "not for at",
        ),
        (
            {"every_s": 5, "ends_at": "2020-01-01T00:00:00Z"},
            "schedule.ends_at",
            "no slot",
        ),
        (
            {
                "cron": "@daily",
                "starts_at": "2099-01-02T00:00:00Z",
                "ends_at": "2099-01-01T00:00:00Z",
            },
            "schedule.ends_at",
            "before starts_at",
        ),
        ({"at": "2099-01-01T00:00:00Z", "timezone": "X"}, "schedule.timezone", "zone"),
    ],
)
def test_what_cannot_be_is_refused(world, make, schedule, field, words):
    """The field is named, with what to write instead, and nothing is changed."""
    refused = make(schedule)

    assert (refused.status, fields(refused)) == (400, [field])
    assert words in refused.body["detail"]
    assert world.rows("tasks") == []


def test_a_patch_may_change_the_form(api, make):
    """What only the old form has goes; the zone and the window stay."""
    made = make({"cron": "0 9 * * *", "timezone": "Europe/Berlin"})
    path = f"/v1/tasks/{made.body['task_id']}"

    changed = api("PATCH", path, {"schedule": {"every_s": 60}})

    assert changed.status == 200, changed.body
    assert changed.body["schedule"]["every_s"] == 60
    assert changed.body["schedule"]["timezone"] == "Europe/Berlin"
    assert "cron" not in changed.body["schedule"]
    both = api("PATCH", path, {"schedule": {"cron": "@daily", "every_s": 60}})
    assert (both.status, fields(both)) == (400, ["schedule"])


def test_a_task_of_an_earlier_release_is_read(api, make):
    """A row with cron and zone alone is shown, run and changed."""
    made = make({"cron": "0 9 * * *"})
    row = tasks.TaskRow(task_id=made.body["task_id"])
    row.refresh()
    row.definition["schedule"] = {"cron": "0 9 * * *", "timezone": "UTC"}
    row.update(actions=[tasks.TaskRow.definition.set(row.definition)])
    path = f"/v1/tasks/{made.body['task_id']}"

    shown = api("GET", path)
    changed = api("PATCH", path, {"timeout_s": 5})

    assert shown.body == made.body
    assert changed.body["next_run"] == made.body["next_run"]
