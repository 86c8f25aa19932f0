"""Numbers from records: medians over rounds, ratios within rounds."""

from statistics import mean, median

QUIET_SHARE = 0.05
"""Other programs' share of the processors above which times and their ratios are not judged: threads
that wait for each other suffer far more than by that share, and not every side alike."""

QUIET_LOAD = 0.5
"""Load average before the first measurement, judged by where the share is not known."""


class Records:
    """The records of one group."""

    def __init__(self, document):
        document = document or {}
        self.quick = document.get("quick", False)
        self.rows = document.get("measurements", [])
        self.load = document.get("environment", {}).get("load_at_start", 0.0)

    def of(self, side, what, size, threads):
        """Its records with times, by round."""
        return {
            row.get("round", 0): row
            for row in self.rows
            if (row["side"], row["what"], row["threads"]) == (side, what, threads)
            and (row["height"], row["width"]) == tuple(size)
            and row.get("median_s") is not None
        }

    def median(self, side, what, size, threads, key="median_s"):
        """Median over the rounds; None where there is nothing."""
        rows = self.of(side, what, size, threads).values()
        values = [row[key] for row in rows if row.get(key) is not None]
        return median(values) if values else None

    def above_start(self, side, what, size, threads):
        """Median of what the work added to the process's resident memory."""
        rows = self.of(side, what, size, threads).values()
        values = [
            row["peak_bytes"] - row["start_bytes"]
            for row in rows
            if row.get("peak_bytes") is not None and row.get("start_bytes") is not None
        ]
        return median(values) if values else None

    def ratio(self, over, under, size, threads):
        """Median over the rounds of (time of `over`) / (time of `under`), both (side, what), run
        next to each other: drift of the machine cancels."""
        above, below = self.of(*over, size, threads), self.of(*under, size, threads)
        ratios = [above[n]["median_s"] / below[n]["median_s"] for n in above.keys() & below.keys()]
        return median(ratios) if ratios else None

    def copies(self, what, size, threads):
        """Median over the rounds of our time / the time of copying the image, taken in turn."""
        rows = self.of("deeplpf", what, size, threads).values()
        ratios = [row["median_s"] / row["copy"]["median_s"] for row in rows if row.get("copy")]
        return median(ratios) if ratios else None

    def copy_time(self, what, size, threads):
        rows = self.of("deeplpf", what, size, threads).values()
        values = [row["copy"]["median_s"] for row in rows if row.get("copy")]
        return median(values) if values else None

    def widest_spread(self):
        """Largest (slowest round) / (fastest round) over everything measured more than once."""
        times = {}
        for row in self.rows:
            if row.get("median_s"):
                key = tuple(row[k] for k in ("side", "what", "height", "width", "threads"))
                times.setdefault(key, []).append(row["median_s"])
        spreads = [max(values) / min(values) for values in times.values() if len(values) > 1]
        return max(spreads, default=None)

    def other_programs(self):
        """Mean share of the processors that other programs took; None where it is not known."""
        shares = [row["other_programs"] for row in self.rows if row.get("other_programs") is not None]
        return mean(shares) if shares else None

    def quiet(self):
        """Whether times can be judged."""
        share = self.other_programs()
        return self.load <= QUIET_LOAD if share is None else share <= QUIET_SHARE

    def sizes(self):
        """(height, width) from the smallest."""
        found = {(row["height"], row["width"]) for row in self.rows}
        return sorted(found, key=lambda size: size[0] * size[1])

    def threads(self):
        return sorted({row["threads"] for row in self.rows})
