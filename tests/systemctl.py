"""A stand-in for systemctl and journalctl, where no systemd runs.

It knows the calls that service.sh makes and answers as systemd 252 does, from a file
of each unit: `<directory>/<unit>.json`. How a unit behaves is its "way":

| way      | when it is started                                              |
|----------|-----------------------------------------------------------------|
| good     | active at once                                                  |
| slow     | systemctl returns after half a second                           |
| late     | systemctl returns, the unit is activating for two looks         |
| oneshot  | ends well, and is inactive                                      |
| ends     | returns, and is inactive                                        |
| fails    | systemctl returns 1, the unit is failed                         |
| dies     | active at the first look, failed at the second                  |
| flaps    | active, with another invocation at every look                   |
| hangs    | systemctl does not return                                       |
| refuses  | systemctl returns 1, the unit is as before                      |
| stays    | it cannot be stopped                                            |
"""

import json
import os
import sys
import time
from pathlib import Path


def install(directory):
    """Make the programs in `directory`, and return it."""
    for name in ("systemctl", "journalctl"):
        program = directory / name
        program.write_text(
            f'#!/bin/sh\nexec "{sys.executable}" -S "{__file__}" {directory} {name} "$@"\n'
        )
        program.chmod(0o755)
    return directory


def add_unit(directory, name, way="good", active="inactive"):
    """Make a unit."""
    unit = {"way": way, "active": active, "looks": 0, "enabled": False}
    (directory / f"{name}.json").write_text(json.dumps(unit))


def unit(directory, name):
    """Return what a unit is just now."""
    return json.loads((directory / f"{name}.json").read_text())


def calls(directory):
    """Return the arguments of each call, in order."""
    log = directory / "calls"
    return [json.loads(line) for line in log.read_text().splitlines()]


def main(directory, program, *arguments):
    with (directory / "calls").open("a") as log:
        log.write(json.dumps([program, *arguments]) + "\n")
    if program == "journalctl":
        print("2026-01-01T00:00:00 host unit[1]: the last words")
        return 0
    *options, name = arguments
    verb = next(option for option in options if not option.startswith("-"))
    assert {"--no-pager", "--no-ask-password"} <= set(options)
    assert options[-1] == "--"
    path = directory / f"{name}.json"
    unit = json.loads(path.read_text()) if path.exists() else None
    code = VERBS[verb](name, unit)
    if unit is not None:
        scratch = path.with_suffix(f".{os.getpid()}")
        scratch.write_text(json.dumps(unit))
        scratch.rename(path)
    return code


def show(name, unit):
    if unit is None:
        print(
            "LoadState=not-found\nActiveState=inactive\nSubState=dead\nResult=success"
        )
        return 0
    unit["looks"] += 1
    if unit["way"] == "late" and unit["active"] == "activating" and unit["looks"] > 2:
        unit["active"] = "active"
    if unit["way"] == "dies" and unit["active"] == "active" and unit["looks"] > 1:
        unit["active"] = "failed"
    way = unit["way"]
    print("Type=" + ("oneshot" if way == "oneshot" else "simple"))
    print("LoadState=loaded")
    print("ActiveState=" + unit["active"])
    print("SubState=" + ("running" if unit["active"] == "active" else "dead"))
    print("Result=" + ("exit-code" if unit["active"] == "failed" else "success"))
    print("InvocationID=" + (str(unit["looks"]) if way == "flaps" else "1"))
    return 0


def start(name, unit):
    way = unit["way"]
    unit["looks"] = 0
    if way == "hangs":
        unit["active"] = "activating"
        time.sleep(60)
    if way == "slow":
        time.sleep(0.5)
    if way == "refuses":
        print(f"Failed to start {name}: Access denied", file=sys.stderr)
        return 1
    states = {"late": "activating", "oneshot": "inactive", "ends": "inactive"}
    unit["active"] = "failed" if way == "fails" else states.get(way, "active")
    return int(way == "fails")


def stop(name, unit):
    if unit["way"] != "stays":
        unit["active"] = "inactive"
    return 0


def status(name, unit):
    print(f"* {name}: {unit['active']}")
    return 0 if unit["active"] == "active" else 3


def enable(name, unit):
    if unit is None:
        print(
            f"Failed to enable unit: Unit file {name} does not exist.", file=sys.stderr
        )
        return 1
    unit["enabled"] = True
    return 0


def disable(name, unit):
    unit["enabled"] = False
    return 0


def is_enabled(name, unit):
    print("enabled" if unit["enabled"] else "disabled")
    return 0 if unit["enabled"] else 1


VERBS = {
    "show": show,
    "start": start,
    "restart": start,
    "reload": start,
    "stop": stop,
    "status": status,
    "enable": enable,
    "disable": disable,
    "is-enabled": is_enabled,
}

if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
