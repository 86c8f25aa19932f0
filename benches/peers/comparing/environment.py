"""The machine and the versions, as the page names them."""

import json
import os
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path

from comparing.processes import PEERS, ROOT, checked


def output(*command):
    """A command's first line, or an empty one."""
    try:
        done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout.strip().splitlines() or [""])[0]


def processor():
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def memory_gib():
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError):
        return None


def commit():
    """The commit, and whether anything differs from it."""
    name = output("git", "rev-parse", "--short=12", "HEAD")
    changed = output("git", "status", "--porcelain", "--untracked-files=no")
    return f"{name} with uncommitted changes" if name and changed else name


def load():
    return round(os.getloadavg()[0], 2)


def describe(python):
    """Everything a reader needs to judge the numbers. `python` may be None: then without peers."""
    versions = {"rustc": output("rustc", "--version")}
    if python:
        text = checked([python, PEERS / "peer.py", "versions"], "asking for the peers' versions")
        versions.update(json.loads(text))
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_gib": memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
        "commit": commit(),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "versions": versions,
        "load_at_start": load(),
    }
