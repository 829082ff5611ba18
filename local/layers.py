"""Check that the built layers hold all that the functions import.

Each handler is imported by a bare interpreter that sees the standard library, the
function and its layers, and nothing else: ministack's workers see more than Lambda's.
"""

from __future__ import annotations

import subprocess
import sys

from local.build import DIRECTORY

LAYERS = {
    "ApiFunction": ("CoreLayer", "DepsLayer"),
    "DispatcherFunction": ("CoreLayer", "DepsLayer"),
    "EventsFunction": ("CoreLayer", "DepsLayer"),
    "NotifierFunction": ("CoreLayer", "DepsLayer"),
    "ExecutorFunction": ("CoreLayer", "DepsLayer", "DepsSshLayer"),
}
PROGRAM = """
import importlib, sys
sys.path[:0] = sys.argv[2:]
module = importlib.import_module(sys.argv[1])
assert callable(module.handler)
"""


def main() -> int:
    """Import all handlers; return how many cannot be."""
    failed = 0
    for function, layers in LAYERS.items():
        module = f"{function.removesuffix('Function').lower()}.handler"
        folders = [DIRECTORY / function]
        folders += [DIRECTORY / layer / "python" for layer in layers]
        # -I: no environment, no user's packages; -S: no site-packages.
        command = [sys.executable, "-I", "-S", "-W", "error", "-c", PROGRAM]
        done = subprocess.run([*command, module, *folders], check=False)
        print(f"{module}: {'cannot be imported' if done.returncode else 'imports'}")
        failed += bool(done.returncode)
    return failed


if __name__ == "__main__":
    sys.exit(main())
