"""One client of one kind, in a process of its own: `ssh` starts it and reads stdout.

Arguments are the client and what it does, stdin is where and how often, as JSON:

| key                    | meaning                                               |
|------------------------|-------------------------------------------------------|
| port, username         | of a server on 127.0.0.1                              |
| host_key, known_hosts  | its public line, and a file with it                   |
| private_key, key_file  | the text of a key that is let in, and a file with it  |
| count, at_once         | how many executions, and how many of them together    |
| path, bytes, at_a_time | a large file, for `output`; what one visit reads      |

Every client connects, runs `true`, knows its exit status and closes, with the
settings that it comes with. Every client but parallel-ssh, which cannot, checks the
host key.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HOST = "127.0.0.1"


def main() -> None:
    """Do it, and print what it took, as JSON; a lone `missing` if it is not here."""
    client, action = sys.argv[1:]
    try:
        made = CLIENTS[client](json.load(sys.stdin))
    except (ImportError, FileNotFoundError):
        print(json.dumps({"missing": True}))
        return
    print(json.dumps(getattr(made, action)()))


def cpu_s() -> float:
    """Return the CPU time of this process, and of its children that have ended."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


class Client:
    """What is measured of every client; each has its own `execute`."""

    def __init__(self, config: dict) -> None:
        self.port: int = config["port"]
        self.config = config

    def execute(self) -> None:
        """Connect, run `true`, close. Raises if it does not end with 0."""
        raise NotImplementedError

    def execute_all(self, count: int, at_once: int) -> None:
        """Execute so often, so many at once, over fresh connections."""
        with ThreadPoolExecutor(at_once) as pool:
            for future in [pool.submit(self.execute) for _ in range(count)]:
                future.result()

    def single(self) -> dict:
        """Return the seconds of each of some executions, one after the other."""
        self.execute()
        return {"seconds": [timed(self.execute) for _ in range(self.config["count"])]}

    def batch(self) -> dict:
        """Return the seconds that many executions take, and their CPU time."""
        before = cpu_s()
        took_s = timed(
            lambda: self.execute_all(self.config["count"], self.config["at_once"])
        )
        return {"seconds": [took_s], "cpu_s": cpu_s() - before}


class Ours(Client):
    """cronhop: the runner, over a connection of its own."""

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        from datetime import UTC, datetime

        from cronhop.domain.credential import Secret
        from cronhop.domain.server import Server, ServerStatus
        from cronhop.ssh import runner
        from cronhop.ssh.connections import Connections

        self._runner = runner
        self._connections = lambda: Connections(allowed=(f"{HOST}/32",))
        self._secret = Secret(private_key=config["private_key"])
        self._server = Server(
            server_id="01JSERVER0000000000000000A",
            name="loopback",
            host=HOST,
            port=self.port,
            username=config["username"],
            credential="bench",
            host_keys=(config["host_key"],),
            environment=None,
            tags={},
            max_concurrency=None,
            status=ServerStatus.ENABLED,
            version=1,
            created_by="bench",
            created_at=datetime.now(UTC),
            updated_at=datetime.now(UTC),
        )

    def execute(self) -> None:
        with self._connections() as connections:
            self._start(connections, "true")

    def output(self) -> dict:
        """Return the seconds of reading a large output, connecting included."""
        with self._connections() as connections:
            key = self._start(connections, f"cat {self.config['path']}", cap=1024**3)
        return {"seconds": [timed(lambda: self._read(key))]}

    def _start(self, connections, command: str, cap: int = 10 * 1024**2) -> str:
        key = secrets.token_hex(16)
        report = self._runner.start(
            self._connect(connections),
            self._runner.Job(
                key=key, command=command, environment={}, timeout_s=60, cap_bytes=cap
            ),
            wait_s=30,
            inline_bytes=8192,
        )
        if report.exit_code != 0:
            raise RuntimeError(report)
        return key

    def _read(self, key: str) -> None:
        received, total = 0, self.config["bytes"]
        with self._connections() as connections:
            connection = self._connect(connections)
            while received < total:
                data = self._runner.read(
                    connection, key, "stdout", received, self.config["at_a_time"]
                )
                if not data:
                    raise RuntimeError("the output is not whole")
                received += len(data)

    def _connect(self, connections):
        deadline = time.monotonic() + 60
        return connections.to(self._server, self._secret, deadline=deadline)


class Asyncssh(Client):
    """asyncssh, with a file of known hosts and a file with the key."""

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        import asyncssh

        self._asyncssh = asyncssh

    def execute(self) -> None:
        asyncio.run(self._execute())

    def execute_all(self, count: int, at_once: int) -> None:
        asyncio.run(self._execute_all(count, at_once))

    def single(self) -> dict:
        return asyncio.run(self._single())

    async def _single(self) -> dict:
        await self._execute()
        seconds = []
        for _ in range(self.config["count"]):
            began = time.perf_counter()
            await self._execute()
            seconds.append(time.perf_counter() - began)
        return {"seconds": seconds}

    async def _execute_all(self, count: int, at_once: int) -> None:
        turns = asyncio.Semaphore(at_once)

        async def in_turn() -> None:
            async with turns:
                await self._execute()

        await asyncio.gather(*(in_turn() for _ in range(count)))

    async def _execute(self) -> None:
        async with self._asyncssh.connect(
            HOST,
            port=self.port,
            username=self.config["username"],
            client_keys=[self.config["key_file"]],
            known_hosts=self.config["known_hosts"],
        ) as connection:
            await connection.run("true", check=True)


class ParallelSsh(Client):
    """parallel-ssh, on libssh2; it does not check host keys."""

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        from pssh.clients import ParallelSSHClient, SSHClient

        self._one, self._many = SSHClient, ParallelSSHClient
        self._options = {
            "user": config["username"],
            "port": self.port,
            "pkey": config["key_file"],
        }

    def execute(self) -> None:
        client = self._one(HOST, **self._options)
        output = client.run_command("true")
        client.wait_finished(output)
        check(output.exit_code)
        client.disconnect()

    def execute_all(self, count: int, at_once: int) -> None:
        client = self._many([HOST] * count, pool_size=at_once, **self._options)
        outputs = client.run_command("true")
        client.join(outputs)
        for output in outputs:
            check(output.exit_code)


class Openssh(Client):
    """The ssh program, without anybody's configuration."""

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        subprocess.run(["ssh", "-V"], check=True, stderr=subprocess.DEVNULL)
        self._words = [
            *("ssh", "-F", "/dev/null", "-o", "BatchMode=yes"),
            *("-o", f"UserKnownHostsFile={config['known_hosts']}"),
            *("-o", "StrictHostKeyChecking=yes"),
            *("-i", config["key_file"], "-p", str(self.port)),
            f"{config['username']}@{HOST}",
        ]

    def execute(self) -> None:
        subprocess.run([*self._words, "true"], check=True, stdin=subprocess.DEVNULL)

    def output(self) -> dict:
        """Return the seconds of fetching a large file."""
        return {"seconds": [timed(self._fetch)]}

    def _fetch(self) -> None:
        with subprocess.Popen(
            [*self._words, f"cat {self.config['path']}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            received = 0
            while data := process.stdout.read1(1024**2):
                received += len(data)
        check(process.returncode)
        check(received - self.config["bytes"])


class Ansible(Client):
    """ansible's raw module, ad hoc, as a program; it starts an ssh for each host."""

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        self._program = Path(sys.executable).with_name("ansible")
        if not self._program.exists():
            raise FileNotFoundError

    def execute_all(self, count: int, at_once: int) -> None:
        directory = Path(self.config["known_hosts"]).parent
        inventory = directory / "inventory"
        inventory.write_text(
            "".join(
                f"host{number} ansible_host={HOST} ansible_port={self.port} "
                f"ansible_user={self.config['username']} "
                f"ansible_ssh_private_key_file={self.config['key_file']}\n"
                for number in range(count)
            )
        )
        environment = os.environ | {
            "ANSIBLE_HOME": str(directory / "ansible"),
            # Fresh connections: by default those to one address would share one.
            "ANSIBLE_SSH_ARGS": "-F /dev/null -o ControlMaster=no "
            f"-o UserKnownHostsFile={self.config['known_hosts']}",
            "ANSIBLE_LOCALHOST_WARNING": "0",
            "LC_ALL": "C.UTF-8",
        }
        subprocess.run(
            [
                *(self._program, "all", "-i", inventory, "-f", str(at_once)),
                *("-m", "raw", "-a", "true"),
            ],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=True,
        )


CLIENTS: dict[str, Callable[[dict], Client]] = {
    "cronhop": Ours,
    "asyncssh": Asyncssh,
    "parallel-ssh": ParallelSsh,
    "openssh": Openssh,
    "ansible": Ansible,
}


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that it takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def check(code: int | None) -> None:
    """Raise if a command did not end with 0."""
    if code != 0:
        raise RuntimeError(f"it ended with {code}")


if __name__ == "__main__":
    main()
