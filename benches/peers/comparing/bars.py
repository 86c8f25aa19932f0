"""What the project set out to reach, and whether the numbers say so."""

from comparing.plan import HUGE, LARGE, SMALL

THREADS = 2

APPLY, VJP = "filters-apply", "filters-vjp"
OURS, TORCH, ONNX = "deeplpf", "pytorch", "onnxruntime"


def times(value):
    return f"{value:.2f}x" if value < 10 else f"{value:.1f}x"


def gib(value):
    return f"{value / 2**30:.2f} GiB"


def bars(groups):
    """(what, bar, measured, verdict) in words."""
    filters, inference = groups["filters"], groups["inference"]
    training, growth = groups["training"], groups["growth"]
    step = (OURS, "training-step"), (TORCH, "training-step")

    def bar(what, records, limit, value, show=times, least=False, of_time=True):
        words = f"{'at least' if least else 'at most'} {show(limit)}"
        if value is None:
            return what, words, "–", "not measured"
        if of_time and not records.quiet():
            return what, words, show(value), "not judged: other programs ran"
        met = value >= limit if least else value <= limit
        verdict = "met" if met else "**not met**"
        return what, words, show(value), verdict + (" (quick trial)" if records.quick else "")

    def steps_quotient(value):
        over, under = (value(*side, SMALL, THREADS) for side in step)
        return over / under if over is not None and under else None

    def peak(*of):
        return training.median(*of, "peak_bytes")

    return [
        bar("filters, 24 MP: time / copying the image once",
            filters, 3, filters.copies(APPLY, HUGE, THREADS)),
        bar("filters' gradients, 24 MP: time / copying the image once",
            filters, 8, filters.copies(VJP, HUGE, THREADS)),
        bar("filters, 6.3 MP: PyTorch's time / ours",
            filters, 30, filters.ratio((TORCH, APPLY), (OURS, APPLY), LARGE, THREADS), least=True),
        bar("inference, 341x512: our time / ONNX Runtime's",
            inference, 0.6, inference.ratio((OURS, "inference"), (ONNX, "inference"), SMALL, THREADS)),
        bar("inference: our time per pixel, 24 MP / 341x512", growth, 1, per_pixel(growth)),
        bar("`deeplpf enhance`, 24 MP JPEG to JPEG: peak memory", growth, 1.5 * 2**30,
            growth.median(OURS, "program", HUGE, THREADS, "peak_bytes"), show=gib, of_time=False),
        bar("training step, 341x512: our time / PyTorch's",
            training, 0.8, training.ratio(*step, SMALL, THREADS)),
        bar("training step, 341x512: our peak memory / PyTorch's",
            training, 1, steps_quotient(peak), of_time=False),
        bar("the same above what was resident before the first step",
            training, 1, steps_quotient(training.above_start), of_time=False),
    ]


def per_pixel(growth):
    """Time per pixel at 24 megapixels over that at 0.17, from memory to memory."""
    small, huge = (growth.median(OURS, "enhance", size, THREADS) for size in (SMALL, HUGE))
    if small is None or huge is None:
        return None
    return (huge / (HUGE[0] * HUGE[1])) / (small / (SMALL[0] * SMALL[1]))
