"""Ingest as a process that can be killed, and what it leaves."""

import hashlib
import subprocess
import sys
from pathlib import Path

from tests.helpers.paths import ROOT


def start(source: Path, data: Path, stderr: int = subprocess.DEVNULL) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "pipelines.ingest", "--data", str(data), "--set", f"ingest.source={source}"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=stderr)


def contents(data: Path) -> dict[str, str]:
    """Hashes of everything but the notes of sizes, times and wall clocks."""
    return {
        str(path.relative_to(data)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(data.rglob("*"))
        if path.is_file() and not {"timings", "ingest-hashes", ".lock"} & set(path.parts)
    }


def decoders(folder: Path) -> list[str]:
    """Command lines of ffmpeg processes that work for this test."""
    commands = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "ffmpeg" in line and str(folder) in line:
            commands.append(line)
    return commands
