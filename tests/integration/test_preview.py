"""The preview: coming slots, what the clocks do to them, and warnings."""

import pytest

from tests.integration.test_api import fields

BERLIN = "Europe/Berlin"


def preview(api, schedule, after, count=2, **more):
    body = {"schedule": schedule, "after": after, "count": count, **more}
    return api("POST", "/v1/schedule/preview", body)


def test_slots_are_shown_as_the_clock_shows_them(world, api):
    """With what DST does to them; nothing is put on record."""
    schedule = {"cron": "30 2 * * *", "timezone": BERLIN}

    spring = preview(api, schedule, "2026-03-28T12:00:00Z")
    autumn = preview(api, schedule, "2026-10-24T12:00:00Z")

    assert spring.status == 200, spring.body
    assert spring.body["slots"] == [
        {
            "at": "2026-03-29T01:00:00Z",
            "local": "2026-03-29T03:00:00+02:00",
            "note": "dst_gap",
            "excluded_by": None,
        },
        {
            "at": "2026-03-30T00:30:00Z",
            "local": "2026-03-30T02:30:00+02:00",
            "note": None,
            "excluded_by": None,
        },
    ]
    assert [slot["note"] for slot in autumn.body["slots"]] == ["dst_overlap", None]
    assert autumn.body["slots"][0]["local"] == "2026-10-25T02:30:00+02:00"
    assert any("2026-10-25" in words for words in autumn.body["warnings"])
    assert world.rows("tasks") == []


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"every_s": 90}, ["00:01:30Z", "00:03:00Z"]),
        ({"every_s": 90, "anchor": "2026-06-01T00:00:10Z"}, ["00:00:10Z", "00:01:40Z"]),
        ({"cron": "*/20 * * * * *", "seconds": True}, ["00:00:20Z", "00:00:40Z"]),
        ({"at": "2026-06-01T00:00:05Z"}, ["00:00:05Z"]),
        ({"at": "2026-05-01T00:00:05Z"}, []),
    ],
)
def test_every_form_is_shown(api, schedule, expected):
    """Intervals without an anchor are counted from `after`."""
    shown = preview(api, schedule, "2026-06-01T00:00:00Z").body

    assert [slot["at"].split("T")[1] for slot in shown["slots"]] == expected
    assert bool(shown["warnings"]) == (not expected)


def test_calendars_and_h_are_those_of_the_task(world, api):
    """What will not start is marked, and `H` is where the task has it."""
    world.calendars.create("holidays", (), by="ada", now=world.clock())
    api("PUT", "/v1/calendars/holidays", {"dates": ["2026-06-02"]})
    task = world.add_task(world.add_server(), cron="H H * * *")
    schedule = {"cron": "H H * * *", "exclude_calendars": ["holidays"]}

    shown = preview(api, schedule, "2026-06-01T10:01:00Z", task_id=task.task_id).body

    assert shown["slots"][0]["at"] == f"{task.next_run:%Y-%m-%dT%H:%M:%SZ}"
    assert [slot["excluded_by"] for slot in shown["slots"]].count("holidays") == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "schedule"),
        ({"schedule": {"cron": "0 0 31 2 *"}}, "schedule.cron"),
        ({"schedule": {"cron": "@daily"}, "count": 101}, "count"),
        ({"schedule": {"cron": "@daily"}, "after": "now"}, "after"),
        ({"schedule": {"cron": "@daily"}, "task_id": "nope"}, "task_id"),
        (
            {"schedule": {"cron": "@daily", "exclude_calendars": ["nope"]}},
            "schedule.exclude_calendars.0",
        ),
    ],
)
def test_a_preview_of_what_cannot_be_is_refused(api, body, field):
    """As the task would be."""
    refused = api("POST", "/v1/schedule/preview", body)

    assert (refused.status, fields(refused)) == (400, [field])
