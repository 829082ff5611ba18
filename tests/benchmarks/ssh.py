"""Executions over SSH beside asyncssh, parallel-ssh, ansible and OpenSSH.

A real sshd on loopback. Each client is a process of its own (`ssh_client`), and the
clients take turns, so that the machine's noise meets all of them. What is compared
are ratios within this run.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

from tests.benchmarks.delay import DelayingProxy
from tests.sshd import Sshd

ROUND_TRIP_S = 0.02
LIMIT_S = 60  # for one client's process
OUTPUT_BYTES = 64 * 1024**2
ROOT = Path(__file__).parents[2]


class Bench:
    """A server, what clients need to come in, and who is missing."""

    def __init__(self, sshd: Sshd, directory: Path) -> None:
        self.port = sshd.port
        self.missing: set[str] = set()
        key_file, self.known_hosts = directory / "key", directory / "known_hosts"
        key_file.write_text(sshd.private_key)
        key_file.chmod(0o600)
        self._host_key = sshd.host_key
        self.config = {
            "username": sshd.username,
            "host_key": sshd.host_key,
            "known_hosts": str(self.known_hosts),
            "private_key": sshd.private_key,
            "key_file": str(key_file),
        }

    def measure(self, client: str, action: str, **changes) -> dict | None:
        """Return what a client says, None if it is missing, fails or is too slow."""
        if client in self.missing:
            return None
        config = self.config | {"port": self.port} | changes
        self.known_hosts.write_text(f"[127.0.0.1]:{config['port']} {self._host_key}\n")
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.ssh_client", client, action],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        peak = Peak(process.pid)
        try:
            said, errors = process.communicate(json.dumps(config), timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            print(f"  {client}: not within {LIMIT_S} s")
            return None
        finally:
            peak.stop()
        if process.returncode:
            last = errors.strip().splitlines()[-1:]
            print(f"  {client}: failed: {' '.join(last)[:200]}")
            return None
        answer = json.loads(said)
        if "missing" in answer:
            self.missing.add(client)
            print(f"  {client}: not installed, skipped")
            return None
        return answer | {"peak_mib": peak.mib}

    def seconds(self, clients, action: str, rounds: int, **changes) -> dict:
        """Return the samples of each client, taken in turns."""
        samples: dict[str, list[float]] = defaultdict(list)
        for _ in range(rounds):
            for client in clients:
                answer = self.measure(client, action, **changes)
                samples[client] += answer["seconds"] if answer else []
        return {client: found for client, found in samples.items() if found}


class Peak(threading.Thread):
    """The most memory that a process and its descendants held, together.

    `mib` is the process's own high-water mark, or the sum of all resident sets as
    seen ten times a second, if that is more; pages that they share count twice.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.mib = 0.0
        self._pid = pid
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._ended.wait(0.1):
            self.mib = max(
                self.mib,
                _status_mib(self._pid, "VmHWM"),
                sum(_status_mib(pid, "VmRSS") for pid in _tree(self._pid)),
            )

    def stop(self) -> None:
        self._ended.set()
        self.join()


def _tree(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(below for child in children for below in _tree(int(child)))]


def _status_mib(pid: int, name: str) -> float:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    _, _, rest = text.partition(f"{name}:")
    return int(rest.split()[0]) / 1024 if rest else 0.0


def main() -> None:
    """Print every comparison, and whether the goal is met."""
    version = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=False)
    print(f"executions over SSH, {version.stderr.strip()}")
    directory = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        with Sshd(max_startups="1000", max_sessions=1000) as sshd:
            bench = Bench(sshd, directory)
            connect(bench)
            connect_from_afar(bench)
            many(bench)
            output(bench, directory / "output")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def connect(bench: Bench) -> None:
    """Compare one execution at a time on loopback."""
    print("\nconnect, run `true`, outcome known, close; loopback")
    clients = ["cronhop", "asyncssh", "parallel-ssh", "openssh"]
    samples = bench.seconds(clients, "single", rounds=5, count=10)
    _print_times(samples, {"asyncssh": 0.5, "openssh": 0.35})


def connect_from_afar(bench: Bench) -> None:
    """Compare one execution at a time behind a delaying proxy."""
    print(f"\nthe same at {ROUND_TRIP_S * 1000:.0f} ms round trip")
    with DelayingProxy(bench.port, round_trip_s=ROUND_TRIP_S) as proxy:
        samples = bench.seconds(
            ["cronhop", "asyncssh", "parallel-ssh", "openssh"],
            "single",
            rounds=3,
            count=5,
            port=proxy.port,
        )
    _print_times(samples, {"asyncssh": 0.8})


def many(bench: Bench) -> None:
    """Compare many executions at once."""
    count, at_once = 200, 50
    print(f"\n{count} executions over fresh connections, {at_once} at a time")
    answers: dict[str, list[dict]] = defaultdict(list)
    for number in range(3):
        for client in ("cronhop", "asyncssh", "parallel-ssh", "ansible"):
            if number and client == "ansible":
                continue  # it takes a while
            answer = bench.measure(client, "batch", count=count, at_once=at_once)
            if answer:
                answers[client].append(answer)
            time.sleep(0.5)  # what was left behind on the server ends
    rates = {
        client: [count / answer["seconds"][0] for answer in found]
        for client, found in answers.items()
    }
    ours = statistics.median(rates.get("cronhop", [0.0]))
    for client, found in answers.items():
        cpu_ms = statistics.median(one["cpu_s"] for one in found) / count * 1000
        mib = max(one["peak_mib"] for one in found)
        rate = statistics.median(rates[client])
        line = f"  {client:13}{rate:7.1f} /s{_spread(rates[client]):>14}"
        line += f"  client CPU {cpu_ms:6.1f} ms each, peak {mib:5.0f} MiB"
        goal = {"parallel-ssh": 1.8, "ansible": 7.0}.get(client)
        if client == "cronhop":
            line += f"  goals 3 ms {_is_met(cpu_ms <= 3)}, 64 MiB {_is_met(mib <= 64)}"
        else:
            line += f"  we are {ours / rate:5.2f} x as fast"
        if goal:
            line += f", goal >= {goal} {_is_met(ours / rate >= goal)}"
        print(line)


def output(bench: Bench, path: Path) -> None:
    """Compare reading a large output with `ssh host cat file`."""
    mib = OUTPUT_BYTES // 1024**2
    print(f"\n{mib} MiB of output, connecting included")
    path.write_bytes(bytes(range(256)) * (OUTPUT_BYTES // 256))
    of_file = {"path": str(path), "bytes": OUTPUT_BYTES}
    for at_a_time, why in (
        (256 * 1024, "256 KiB a visit, as services/collect.py reads"),
        (8 * 1024**2, "8 MiB a visit"),
    ):
        print(f"  {why}")
        samples = bench.seconds(
            ["cronhop", "openssh"], "output", rounds=3, at_a_time=at_a_time, **of_file
        )
        _print_times(samples, {"openssh": 1.0})


def _print_times(samples: dict[str, list[float]], goals: dict[str, float]) -> None:
    ours = statistics.median(samples.get("cronhop", [float("nan")]))
    for client, found in samples.items():
        in_ms = [second * 1000 for second in found]
        median = statistics.median(in_ms)
        line = f"  {client:13}{median:7.1f} ms{_spread(in_ms):>14}"
        if client != "cronhop":
            ratio = ours * 1000 / median
            line += f"  we take {ratio:5.2f} x its time"
            if client in goals:
                goal = goals[client]
                line += f", goal <= {goal} {_is_met(ratio <= goal)}"
        print(line)


def _spread(values: list[float]) -> str:
    """Return the interquartile range, of two values or three the whole range."""
    if len(values) < 4:
        return f"{min(values):.1f}-{max(values):.1f}"
    first, _, third = statistics.quantiles(values, n=4)
    return f"{first:.1f}-{third:.1f}"


def _is_met(verdict: bool) -> str:
    return "met" if verdict else "MISSED"


if __name__ == "__main__":
    main()
