"""The template, built by the SAM CLI for the Python and processor at hand."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from pathlib import Path

from local.progress import run, step
from local.tools import PINS, ROOT, SHARED, locked, tool, uv

DIRECTORY = SHARED / "build"
TEMPLATE = DIRECTORY / "template.yaml"
SOURCES = ("functions", "infra/template.yaml", "layers")
NEWEST_RUNTIME = 14  # the template knows no later one, and ministack does not look

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
PARAMETERS = {
    "Runtime": f"python3.{min(sys.version_info.minor, NEWEST_RUNTIME)}",
    "Architecture": "arm64" if platform.machine() in {"arm64", "aarch64"} else "x86_64",
}


def build() -> str:
    """Build what has changed since the last time; return a digest of what is built."""
    with locked("build"):
        digest = _digest()
        stamp = DIRECTORY / "digest"
        if not stamp.exists() or stamp.read_text() != digest:
            sam = tool("sam")
            with step("Building layers and functions"):
                stamp.unlink(missing_ok=True)
                _build(sam)
                stamp.write_text(digest)
    return digest


def environment() -> dict[str, str]:
    """Return the environment for the SAM CLI, without anybody's AWS account."""
    kept = {
        name: value
        for name, value in os.environ.items()
        # An outer make would make SAM's make talk to it.
        if not name.startswith(("AWS_", "SAM_", "MAKE")) and name != "MFLAGS"
    }
    if "AWS_CA_BUNDLE" in os.environ:
        kept["AWS_CA_BUNDLE"] = os.environ["AWS_CA_BUNDLE"]
    return kept | {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "LAYER_PLATFORM": "",
        "LAYER_PYTHON": PYTHON,
        "SAM_CLI_POLL_DELAY": "0.2",
        "SAM_CLI_TELEMETRY": "0",
        "UV": uv(),
        "__SAM_CLI_APP_DIR": str(SHARED / "sam"),
    }


def overrides(parameters: dict[str, str]) -> list[str]:
    """Return parameters as the SAM CLI takes them."""
    return [f"{name}={value}" for name, value in parameters.items()]


def _build(sam: Path) -> None:
    run(
        [
            sam,
            "build",
            *("--template-file", ROOT / "infra" / "template.yaml"),
            *("--build-dir", DIRECTORY),
            "--parallel",
            *("--cached", "--cache-dir", SHARED / "cache" / PYTHON),
            *("--parameter-overrides", *overrides(PARAMETERS)),
        ],
        log=SHARED / "log" / "sam-build.log",
        env=environment(),
        cwd=ROOT,
    )


def _digest() -> str:
    """Return a digest of all that the build depends on."""
    digest = hashlib.sha256()
    for part in (*PINS["sam"], platform.python_version(), platform.machine()):
        digest.update(f"{part}\0".encode())
    for path in sorted(_files()):
        content = path.read_bytes()
        name = path.relative_to(ROOT)
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _files() -> list[Path]:
    found: list[Path] = []
    for source in SOURCES:
        path = ROOT / source
        found += [path] if path.is_file() else path.rglob("*")
    return [
        path for path in found if path.is_file() and "__pycache__" not in path.parts
    ]
