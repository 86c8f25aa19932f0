"""Repetitions and the line of JSON, as `benches/src/{timing,record}.rs`."""

import json
import time

import numpy


def status(key):
    """A size in bytes from /proc/self/status, or None where there is none."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            for line in file:
                if line.startswith(key + ":"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


COLD_LIMIT = 30
"""A first run of so many seconds is the measurement: what happens only once is small beside it."""


def repeat(work, budget, repeats):
    """Seconds of each repetition, and whether an untimed run went before. At least one repetition
    is made, and no other that would probably end after `budget` seconds."""

    def timed():
        begin = time.perf_counter()
        work()
        return time.perf_counter() - begin

    last = timed()
    if last >= COLD_LIMIT:
        return [last], False
    seconds = []
    begin = time.perf_counter()
    while len(seconds) < repeats:
        if seconds and time.perf_counter() - begin + last > budget:
            break
        last = timed()
        seconds.append(last)
    return seconds, True


def line(side, what, size, threads, instruction_set, start_bytes, seconds, warmed):
    """The record as one line."""
    quantile = {q: float(numpy.quantile(seconds, q)) for q in (0, 0.25, 0.5, 0.75)}
    return json.dumps({
        "side": side,
        "what": what,
        "height": size[0],
        "width": size[1],
        "threads": threads,
        "instruction_set": instruction_set,
        "warmed": warmed,
        "repeats": len(seconds),
        "median_s": quantile[0.5],
        "min_s": quantile[0],
        "q1_s": quantile[0.25],
        "q3_s": quantile[0.75],
        "seconds": seconds,
        "start_bytes": start_bytes,
        "peak_bytes": status("VmHWM"),
    })
