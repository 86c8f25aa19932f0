"""The synthetic photograph of `benches/src/photograph.rs`, the same bits."""

import numpy

SUMS = (24_789_881, 2_253_523_864_506)
"""Plain and index-weighted sum of the 300x200 photograph's values, as in the Rust test."""


def triangle(n, period):
    place = n % period
    return numpy.minimum(place, period - 1 - place)


def noise(n):
    h = n.astype(numpy.uint32)
    h = (h ^ (h >> 16)) * numpy.uint32(0x85EBCA6B)
    h = (h ^ (h >> 13)) * numpy.uint32(0xC2B2AE35)
    return h ^ (h >> 16)


def photograph(height, width):
    """(H, W, 3), 8 bit."""
    values = numpy.empty((height, width, 3), numpy.uint8)
    column, channel = numpy.arange(width)[:, None], numpy.arange(3)[None, :]
    # Row by row: the whole of a large photograph in 64-bit integers would be the peak memory.
    for row in range(height):
        fast = triangle(3 * row + 2 * column + 40 * channel, 512)
        slow = triangle(row // 4 + column // 2 + 97 * channel, 512)
        edge = (row // 96 + column // 64) % 2 * 31
        place = ((row * 0x9E3779B1) & 0xFFFFFFFF) ^ (column * 3)
        grain = noise((place + channel) & 0xFFFFFFFF) & 31
        values[row] = (3 * fast + 3 * slow) // 8 + edge + grain
    return values


def planes(height, width):
    """(1, 3, H, W) float32 in [0, 1]."""
    values = photograph(height, width).transpose(2, 0, 1)[None]
    return numpy.ascontiguousarray(values, dtype=numpy.float32) / numpy.float32(255)


def check():
    """Fails if this is not the photograph the other side makes."""
    values = photograph(300, 200).reshape(-1).astype(numpy.int64)
    found = (int(values.sum()), int((values * numpy.arange(values.size)).sum()))
    if found != SUMS:
        raise SystemExit(f"the photograph differs from deeplpf's: {found} instead of {SUMS}")
