"""`python -m local`: bring the stack up, end it, forget it, get a token."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from local.build import build
from local.progress import Failed
from local.stack import Stack
from local.tools import PINS, tool


def up() -> None:
    """bring the stack up and run a first task"""
    from local.demo import show  # noqa: PLC0415  it costs a second, `token` none

    began = time.monotonic()
    stack = Stack.from_env()
    stack.up()
    show(stack)
    print(f"\nAll that took {time.monotonic() - began:.1f} s.")


def down() -> None:
    """end the stack; its state is kept"""
    from local.demo import sshd_of  # noqa: PLC0415

    stack = Stack.from_env()
    stack.stop()
    sshd_of(stack).stop()


def reset() -> None:
    """end the stack and forget its state"""
    from local.demo import sshd_of  # noqa: PLC0415

    stack = Stack.from_env()
    sshd_of(stack).stop()
    stack.reset()


def token() -> None:
    """print an access token"""
    stack = Stack.from_env()
    if not stack.is_running():
        raise Failed("The stack is not running: `make run` starts it.")
    print(stack.token())


def password() -> None:
    """print the user's password"""
    print(Stack.from_env().notes()["password"])


def status() -> None:
    """print whether the stack runs, and where"""
    stack = Stack.from_env()
    print(f"{'up' if stack.is_running() else 'down'} {stack.api_url}")


def tools() -> None:
    """install the SAM CLI and ministack"""
    for name in PINS:
        tool(name)


COMMANDS: dict[str, Callable[[], object]] = {
    "up": up,
    "down": down,
    "reset": reset,
    "token": token,
    "password": password,
    "status": status,
    "build": build,
    "tools": tools,
}


def main() -> int:
    """Do one command; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    command = parser.parse_args().command
    try:
        COMMANDS[command]()
    except Failed as failure:
        print(f"\n{failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
