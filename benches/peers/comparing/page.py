"""The page: the hand-written template with tables in place of `{{name}}`."""

import re

from comparing.bars import ONNX, OURS, TORCH, bars, gib
from comparing.statistics_of_rounds import Records

NAMES = {OURS: "deeplpf", TORCH: "PyTorch", ONNX: "ONNX Runtime"}


PICTURES = """![Time of one photograph against its pixels](benchmarks/growth-time.svg)

![Peak memory against pixels](benchmarks/growth-memory.svg)"""


def seconds(value):
    if value is None:
        return "–"
    if value >= 10:
        return f"{value:.1f} s"
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.3g} ms"


def times(value):
    return "–" if value is None else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def memory(value):
    return "–" if value is None else gib(value)


def table(header, rows):
    """Markdown; the first column to the left, the others to the right."""
    if not rows:
        return "Not measured yet."
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def megapixels(size):
    value = size[0] * size[1] / 1e6
    return f"{value:.2g}" if value < 9.95 else f"{value:.0f}"


def row_name(size, threads):
    return f"{size[0]} x {size[1]} ({megapixels(size)} MP), {threads} thread{'s' * (threads > 1)}"


def each_row(records, cells, needs):
    """Rows of the sizes and threads that have any record of `needs`."""
    return [
        [row_name(size, threads), *cells(size, threads)]
        for size in records.sizes()
        for threads in records.threads()
        if any(records.of(*need, size, threads) for need in needs)
    ]


def filters_tables(records):
    texts = []
    for what, words in (("filters-apply", "Forward"), ("filters-vjp", "Gradients")):

        def cells(size, threads, what=what):
            torch = records.median(TORCH, what, size, threads)
            return [
                seconds(records.copy_time(what, size, threads)),
                seconds(records.median(OURS, what, size, threads)),
                times(records.copies(what, size, threads)),
                seconds(torch),
                times(records.ratio((TORCH, what), (OURS, what), size, threads)),
            ]

        header = [words, "copy", "deeplpf", "deeplpf / copy", "PyTorch", "PyTorch / deeplpf"]
        texts.append(table(header, each_row(records, cells, [(OURS, what), (TORCH, what)])))
    return "\n\n".join(texts)


def inference_tables(records):
    engine, network = (OURS, "inference"), (OURS, "inference-model")
    torch, onnx = (TORCH, "inference"), (ONNX, "inference")
    sides = (engine, torch, onnx, network)

    def time_cells(size, threads):
        found = [seconds(records.median(*side, size, threads)) for side in sides]
        ratios = [times(records.ratio(engine, peer, size, threads)) for peer in (torch, onnx)]
        return found + ratios

    def memory_cells(size, threads):
        return [memory(records.median(*side, size, threads, "peak_bytes")) for side in sides]

    header = ["Time", "deeplpf", "PyTorch", "ONNX Runtime", "deeplpf, training network",
              "deeplpf / PyTorch", "deeplpf / ONNX Runtime"]
    first = table(header, each_row(records, time_cells, sides))
    header = ["Peak memory", *header[1:5]]
    return f"{first}\n\n{table(header, each_row(records, memory_cells, sides))}"


def training_tables(records):
    ours, torch = (OURS, "training-step"), (TORCH, "training-step")

    def cells(size, threads):
        return [
            seconds(records.median(*ours, size, threads)),
            seconds(records.median(*torch, size, threads)),
            times(records.ratio(ours, torch, size, threads)),
            memory(records.median(*ours, size, threads, "peak_bytes")),
            memory(records.median(*torch, size, threads, "peak_bytes")),
            memory(records.above_start(*ours, size, threads)),
            memory(records.above_start(*torch, size, threads)),
        ]

    header = ["Step", "deeplpf", "PyTorch", "deeplpf / PyTorch", "peak, deeplpf", "peak, PyTorch",
              "above start, deeplpf", "above start, PyTorch"]
    return table(header, each_row(records, cells, (ours, torch)))


def growth_tables(records):
    texts = [PICTURES] if records.rows else []
    for what, words in (("enhance", "From memory to memory"), ("program", "From JPEG to JPEG")):

        def cells(size, threads, what=what):
            time = records.median(OURS, what, size, threads)
            peak = records.median(OURS, what, size, threads, "peak_bytes")
            pixels = size[0] * size[1]
            per_pixel = "–" if time is None else f"{time / pixels * 1e6:.2f} s"
            bytes_per_pixel = "–" if peak is None else f"{peak / pixels:.0f}"
            return [seconds(time), per_pixel, memory(peak), bytes_per_pixel]

        header = [words, "time", "time per megapixel", "peak memory", "bytes per pixel"]
        texts.append(table(header, each_row(records, cells, [(OURS, what)])))
    return "\n\n".join(texts)


def bars_table(groups):
    return table(["Two threads", "bar", "measured", ""], bars(groups))


def provenance(document):
    """Where a group's numbers come from, and what is to be held against them."""
    if not document:
        return ""
    where = document["environment"]
    versions = where["versions"]
    peers = [
        f"{name} {versions[key]}"
        for key, name in (("torch", "PyTorch"), ("onnxruntime", "ONNX Runtime"), ("python", "Python"))
        if key in versions
    ]
    records = Records(document)
    rounds = len({row.get("round", 0) for row in records.rows})
    text = (
        f"{where['date']}, {where['processor']}, {where['cores']} cores, {where['memory_gib']} GiB, "
        f"{where['system']}; commit {where['commit']}, {versions['rustc'].split(' (')[0]}"
        + "".join(f", {peer}" for peer in peers)
        + f". {rounds} round{'s' * (rounds > 1)}; load average {where['load_at_start']} at the "
        f"start, {where.get('load_at_end', 'unknown')} at the end"
    )
    share, spread = records.other_programs(), records.widest_spread()
    if share is not None:
        text += f"; other programs took {share:.0%} of the processors"
    if spread:
        text += f"; the slowest round took at most {spread:.2f} times the fastest"
    notes = []
    if not records.quiet():
        notes.append(
            "**Other programs ran at the same time: times and their ratios cannot be relied on.**"
        )
    if document.get("quick"):
        notes.append("**A quick trial, not a measurement to quote.**")
    if not document.get("complete", True):
        notes.append("**The run was interrupted; what is missing is shown as a dash.**")
    notes += failures(records.rows)
    return "\n".join([f"*{text}.*", *(f"\n{note}" for note in notes)])


def failures(rows):
    """One line for each measurement that has no number, of whatever round."""
    found = {}
    for row in rows:
        why = row.get("skipped") or row.get("failed")
        if why:
            size = (row["height"], row["width"])
            key = (NAMES[row["side"]], row["what"], f"{size[0]} x {size[1]}")
            found.setdefault(key, ("left out" if row.get("skipped") else "failed", why))
    return [
        f"- {side}, {what}, {size}: {verb}: {why}."
        for (side, what, size), (verb, why) in found.items()
    ]


TABLES = {
    "filters": filters_tables,
    "inference": inference_tables,
    "training": training_tables,
    "growth": growth_tables,
}


def render(template, documents):
    """The page. `documents` are the groups' files, None where there is none."""
    groups = {name: Records(documents.get(name)) for name in TABLES}
    texts = {"bars": bars_table(groups)}
    for name, tables in TABLES.items():
        parts = [tables(groups[name]), provenance(documents.get(name))]
        texts[name] = "\n\n".join(part for part in parts if part)

    def text(match):
        return texts[match.group(1)]

    return re.sub(r"\{\{(\w+)\}\}", text, template)
