"""Statistics on the command line, against the API's own handler."""

import pytest


@pytest.fixture
def job(world, server):
    """A task that fails."""
    return world.add_task(server, name="job", command='[ -e "$HOME/.nothing" ]')


def test_what_tasks_did(cronhop, world, server, job):
    """Runs are counted by state and day, for the fleet and for a task."""
    world.add_task(server, name="good", command="true")
    for name, code in (("job", 1), ("good", 0), ("good", 0)):
        assert cronhop("run", name, "--follow").code == code
    world.follow()

    days, servers, never = cronhop("stats").out.split("\n\n")
    of_task, last = cronhop("tasks", "stats", "good").out.split("\n\n")
    of_job = cronhop("tasks", "stats", job.task_id).out

    assert days.splitlines()[0].split() == [
        *("DAY", "RUNS", "COMPLETED", "FAILED", "SUCCESS", "LATE"),
    ]
    assert len(days.splitlines()) == 1 + 7 + 1
    assert days.splitlines()[-1].split() == ["all", "3", "2", "1", "66.7", "%", "0"]
    assert servers.splitlines()[2].split()[-2:] == ["3", "1"]
    assert never.splitlines()[2].startswith("job  ")
    assert of_task.splitlines()[0].split()[-2:] == ["P50", "P95"]
    assert of_task.splitlines()[-1].split()[:5] == ["all", "2", "2", "100", "%"]
    assert last.startswith("Last completed: 20")
    assert of_job.endswith("Last completed: never\n")
    assert cronhop.json("tasks", "stats", "job")["states"] == {"failed": 1}


def test_nothing_was_done(cronhop):
    """Days without runs have no rate, and no table is empty."""
    out = cronhop("stats", "--from", "2026-06-01", "--to", "2026-06-01").out

    assert [line.split() for line in out.splitlines()] == [
        ["DAY", "RUNS", "SUCCESS", "LATE"],
        ["2026-06-01", "0", "-", "0"],
        ["all", "0", "-", "0"],
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("stats", "--from", "yesterday"), "from: not a day, such as 2026-06-01"),
        (("stats", "--to", "2026-06-01", "--from", "2026-06-02"), "to: it is before"),
        (("tasks", "stats", "jbo"), "did you mean 'job'?"),
    ],
    ids=["no-day", "turned", "typo"],
)
def test_days_that_cannot_be(cronhop, job, words, said):
    """The API's word, with the option's name; a name that comes near."""
    done = cronhop(*words)

    assert (done.code, done.out) == (1, "")
    assert said in done.err
