"""The demo: what `make run` shows of the stack."""

from __future__ import annotations

import httpx
import pytest

from local import demo
from local.stack import Stack


def test_the_demo_runs_and_runs_again(
    stack: Stack, api: httpx.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its task prints what it should; a second time makes nothing twice."""
    try:
        demo.show(stack)
        demo.show(stack)
    finally:
        demo.sshd_of(stack).stop()

    shown = capsys.readouterr().out
    assert shown.count(f"  {demo.EXPECTED}") == 2
    for path in ("/v1/credentials", "/v1/servers", "/v1/tasks"):
        names = [item["name"] for item in api.get(path).json()["items"]]
        assert len([name for name in names if name.startswith("demo")]) == 1
