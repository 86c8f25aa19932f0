"""What is measured: groups, sizes, sides, rounds."""

from dataclasses import dataclass

SMALL, MEDIUM, LARGE, HUGE = (341, 512), (1000, 1600), (2048, 3072), (4000, 6000)
"""0.17 megapixels (FiveK at 512 pixels), 1.6, 6.3 and 24."""

SIZES = (SMALL, MEDIUM, LARGE, HUGE)
GROWTH_SIZES = SIZES + ((5792, 8640), (8200, 12200))
"""And 50 and 100 megapixels."""

THREADS = (1, 2)
GROUPS = ("filters", "inference", "training", "growth")

BASE_BYTES = 700 << 20
"""Of an interpreter with a tensor library, before any image."""

BYTES_PER_PIXEL = {
    ("pytorch", "filters-apply"): 400,
    ("pytorch", "filters-vjp"): 1000,
    ("pytorch", "inference"): 950,
    ("pytorch", "training-step"): 4200,
    ("onnxruntime", "inference"): 950,
    ("deeplpf", "filters-apply"): 40,
    ("deeplpf", "filters-vjp"): 60,
    ("deeplpf", "inference-model"): 650,
    ("deeplpf", "training-step"): 2700,
}
"""About a tenth above what was measured at 1.6 megapixels. What is not here tells by itself when it
does not fit."""


@dataclass(frozen=True)
class Measurement:
    """One process."""

    group: str
    side: str
    what: str
    size: tuple
    threads: int
    round: int

    def estimated_bytes(self):
        """Memory it needs, about, or 0 where it refuses by itself."""
        per_pixel = BYTES_PER_PIXEL.get((self.side, self.what), 0)
        return per_pixel and BASE_BYTES + per_pixel * self.size[0] * self.size[1]

    def __str__(self):
        height, width = self.size
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{self.side} {self.what} {height}x{width}, {threads}"


CONTESTS = {
    "filters": (
        (("deeplpf", "filters-apply"), ("pytorch", "filters-apply")),
        (("deeplpf", "filters-vjp"), ("pytorch", "filters-vjp")),
    ),
    "inference": (
        (
            ("deeplpf", "inference"),
            ("pytorch", "inference"),
            ("onnxruntime", "inference"),
            ("deeplpf", "inference-model"),
        ),
    ),
    "training": ((("deeplpf", "training-step"), ("pytorch", "training-step")),),
    "growth": ((("deeplpf", "enhance"),), (("deeplpf", "program"),)),
}
"""Who runs beside whom."""


def sizes(group, largest):
    """The group's sizes of at most `largest` pixels."""
    of_group = {"training": SIZES[:2], "growth": GROWTH_SIZES}.get(group, SIZES)
    return [size for size in of_group if size[0] * size[1] <= largest]


def measurements(group, rounds, largest):
    """In the order they are run. Each round goes through everything; who is first in a contest
    changes from round to round, so that neither drift nor order favours a side. From 20 megapixels
    on the network, which then takes minutes, gets half the rounds."""
    plan = []
    for number in range(rounds):
        for size in sizes(group, largest):
            heavy = size[0] * size[1] > 20_000_000 and group != "filters"
            if heavy and number >= max(1, rounds // 2):
                continue
            for threads in THREADS:
                for contest in CONTESTS[group]:
                    first = number % len(contest)
                    for side, what in contest[first:] + contest[:first]:
                        plan.append(Measurement(group, side, what, size, threads, number))
    return plan
