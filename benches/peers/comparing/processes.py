"""One measurement, one process."""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

PEERS = Path(__file__).resolve().parent.parent
ROOT = PEERS.parent.parent

TIMEOUT = 1800
"""Seconds a process may take."""


class Stop(Exception):
    """Nothing more can be measured; the message says why and what to do."""


def checked(command, what, **options):
    """Runs a command that must succeed, and returns its output."""
    try:
        done = subprocess.run(
            [str(word) for word in command], cwd=ROOT, text=True, stdout=subprocess.PIPE, **options
        )
    except OSError as error:
        raise Stop(f"{what}: cannot start {command[0]}: {error}") from error
    if done.returncode:
        raise Stop(f"{what} failed (exit status {done.returncode}): see the messages above")
    return done.stdout


def available_bytes():
    """Memory that can be had without swapping, or None where the system does not tell."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


class OtherPrograms:
    """How much of the processors other programs took since it was made."""

    def __init__(self):
        self.begin = time.perf_counter()
        self.busy, self.own = busy_seconds(), own_seconds()

    def share(self):
        """Of all processors' time, 0 to 1; None where the system does not tell."""
        if self.busy is None:
            return None
        others = (busy_seconds() - self.busy) - (own_seconds() - self.own)
        whole = (time.perf_counter() - self.begin) * (os.cpu_count() or 1)
        # Processor time is counted in hundredths of a second.
        return round(min(1.0, max(0.0, others / whole)), 3)


def busy_seconds():
    """Processor time of everything on the machine (Linux)."""
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]
    except OSError:
        return None
    user, nice, system, _idle, _waiting, interrupts, soft_interrupts, stolen = map(int, fields)
    ticks = user + nice + system + interrupts + soft_interrupts + stolen
    return ticks / os.sysconf("SC_CLK_TCK")


def own_seconds():
    """Processor time of this program and of the processes it has waited for."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


class Runner:
    """Knows how to run each side."""

    def __init__(self, python, weights, work, budget):
        self.python, self.weights, self.work, self.budget = python, weights, work, budget
        self.measure = ROOT / "target" / "release" / "measure"
        self.program = ROOT / "target" / "release" / "deeplpf"

    def run(self, measurement):
        """The record of a measurement: times, or why there are none."""
        record = {
            "side": measurement.side,
            "what": measurement.what,
            "height": measurement.size[0],
            "width": measurement.size[1],
            "threads": measurement.threads,
            "round": measurement.round,
        }
        needed, available = measurement.estimated_bytes(), available_bytes()
        if available is not None and needed > available:
            gib = 1 << 30
            reason = f"needs about {needed / gib:.0f} GiB, {available / gib:.0f} GiB are free"
            return {**record, "skipped": reason}
        if measurement.what == "program":
            photograph = self.photograph(measurement.size)
            others = OtherPrograms()
            found = self.run_program(measurement, photograph)
            return {**record, **found, "other_programs": others.share()}
        size = "x".join(map(str, measurement.size))
        options = [
            "--size", size, "--threads", measurement.threads, "--weights", self.weights,
            "--budget", self.budget,
        ]
        if measurement.side == "deeplpf":
            command = [self.measure, "run", measurement.what, *options]
        else:
            if measurement.side == "onnxruntime":
                self.export(size)
            peer = [self.python, PEERS / "peer.py", "run", measurement.side, measurement.what]
            command = [*peer, *options, "--graphs", self.work]
        others = OtherPrograms()
        return {**record, **run_json(command), "other_programs": others.share()}

    def export(self, size):
        """Writes the ONNX graph of a size, if it is missing, in a process of its own."""
        command = [self.python, PEERS / "peer.py", "export", "--size", size]
        checked([*command, "--weights", self.weights, "--graphs", self.work], "the ONNX export")

    def photograph(self, size):
        """A JPEG of a size."""
        size = "x".join(map(str, size))
        photograph = self.work / f"photograph-{size}.jpg"
        if not photograph.exists():
            partial = photograph.with_suffix(".partial")
            checked([self.measure, "photograph", partial, "--size", size], "writing a photograph")
            partial.rename(photograph)
        return photograph

    def run_program(self, measurement, photograph):
        """The whole program, from a JPEG to a JPEG, with start, reading and writing."""
        result = self.work / "enhanced.jpg"
        command = [self.program, "enhance", photograph, "-o", result, "--weights", self.weights]
        environment = {**os.environ, "RAYON_NUM_THREADS": str(measurement.threads)}
        begin = time.perf_counter()
        process = subprocess.Popen(
            [str(word) for word in command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        messages = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stderr.close()
        result.unlink(missing_ok=True)
        if process.returncode:
            return {"failed": reason(process.returncode, messages)}
        # Linux gives kibibytes, macOS bytes.
        unit = 1 if sys.platform == "darwin" else 1024
        return {"median_s": seconds, "seconds": [seconds], "peak_bytes": usage.ru_maxrss * unit}


def run_json(command):
    """What the process's last line says, or why there is none."""
    try:
        done = subprocess.run(
            [str(word) for word in command],
            cwd=ROOT,
            text=True,
            capture_output=True,
            timeout=TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"took longer than {TIMEOUT // 60} minutes"}
    except OSError as error:
        raise Stop(f"cannot start {command[0]}: {error}") from error
    if done.returncode:
        return {"failed": reason(done.returncode, done.stderr)}
    try:
        return json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        return {"failed": "printed no record"}


def reason(returncode, messages):
    """Why a process failed, in one line."""
    if returncode == -9:
        return "killed, as the system does where memory runs out"
    if returncode < 0:
        return f"ended by signal {-returncode}"
    lines = messages.strip().splitlines()
    # Places on this machine are of no use to a reader.
    return lines[-1].replace(f"{ROOT}{os.sep}", "") if lines else f"exit status {returncode}"
