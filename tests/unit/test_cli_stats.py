"""Statistics on the command line: what a person reads of them."""

import httpx
import pytest

from tests.cli import URL, Cronhop

STATES = {"completed": 1999, "failed": 1, "cancelled": 2}
FLEET = {
    "from": "2026-06-01",
    "to": "2026-06-02",
    "runs": 2002,
    "states": STATES,
    "success_rate": 0.9995,
    "late": 3,
    "days": [
        {
            "day": "2026-06-01",
            "runs": 0,
            "states": {},
            "success_rate": None,
            "late": 0,
        },
        {
            "day": "2026-06-02",
            "runs": 2002,
            "states": STATES,
            "success_rate": 0.9995,
            "late": 3,
        },
    ],
    "busiest_servers": {
        "since": "2026-06-02",
        "items": [
            {
                "server_id": "01KA5Z6J6Q7E0N2T3V4W5X6Y7Z",
                "name": None,
                "busy_s": 7321.5,
                "executions": 7,
                "states": {"completed": 5, "lost": 2},
            },
            {
                "server_id": "01KA5Z6J6Q7E0N2T3V4W5X6Y80",
                "name": "web-\x1b[31m1",
                "busy_s": 0.25,
                "executions": 1,
                "states": {"completed": 1},
            },
        ],
    },
    "never_successful": {
        "items": [
            {
                "task_id": "01KA5Z6J6Q7E0N2T3V4W5X6Y81",
                "name": "evil\u202e",
                "first_end": "2026-05-03T01:30:01Z",
            }
        ],
        "complete": False,
    },
}


@pytest.fixture
def asked():
    """The queries that came."""
    return []


@pytest.fixture
def cronhop(tmp_path, asked):
    """The program, before an API that answers with these."""

    def answer(request):
        asked.append(dict(request.url.params))
        return httpx.Response(200, json=FLEET)

    return Cronhop(
        httpx.MockTransport(answer), tmp_path, CRONHOP_URL=URL, CRONHOP_TOKEN="t"
    )


def test_what_the_fleet_did(cronhop, asked):
    """Only states that there were have columns; nothing steers the terminal."""
    done = cronhop("stats", "--from", "2026-06-01", "--to", "2026-06-02")

    assert [line.rstrip() for line in done.out.splitlines()] == [
        "DAY         RUNS  COMPLETED  FAILED  CANCELLED  SUCCESS  LATE",
        "2026-06-01     0          0       0          0        -     0",
        "2026-06-02  2002       1999       1          2   99.9 %     3",
        "all         2002       1999       1          2   99.9 %     3",
        "",
        "The busiest servers since 2026-06-02:",
        "SERVER                                      BUSY  EXECUTIONS  NOT COMPLETED",
        "01KA5Z6J6Q7E0N2T3V4W5X6Y7Z (deleted)  2 h 02 min           7              2",
        r"web-\x1b[31m1                             0.25 s           1              0",
        "",
        "Tasks that never succeeded, whenever they ran:",
        "TASK        FIRST RUN ENDED",
        r"evil\u202e  2026-05-03T01:30:01Z",
    ]
    assert done.err == "There are more of them.\n"
    assert asked == [{"from": "2026-06-01", "to": "2026-06-02"}]


def test_what_is_not_said_is_not_asked(cronhop, asked):
    """The API knows which days are meant then; its document is printed as it is."""
    assert cronhop.json("stats") == FLEET
    assert asked == [{}]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0 s"),
        (0.012, "0.012 s"),
        (12.345, "12.3 s"),
        (59.99, "60 s"),
        (61.4, "1 min 01 s"),
        (3599.6, "1 h 00 min"),
        (90061.0, "25 h 01 min"),
    ],
)
def test_durations(cronhop, monkeypatch, seconds, shown):
    """They have a unit, and no more digits than are of use."""
    (server, _) = FLEET["busiest_servers"]["items"]
    monkeypatch.setitem(server, "busy_s", seconds)

    assert f" {shown} " in cronhop("stats").out
