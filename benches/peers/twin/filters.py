"""The three filters of the release and their fusion, as batched tensor operations.

Images are (N, 3, H, W). x = row / H runs down, y = column / W to the right. Masks are computed as
(N, instance, channel, H, W) and multiplied over the instances.
"""

import math

import torch

CUBIC, GRADUATED, ELLIPTICAL = 60, 24, 24
"""Raw parameters of each filter."""

EPSILON = 1e-10
"""The release's guard of denominators and roots."""


def squash(u):
    """(tanh u + 1) / 2, onto (0, 1)."""
    return (torch.tanh(u) + 1) / 2


def coordinates(image):
    """x as (H, 1) and y as (1, W)."""
    height, width = image.shape[-2:]
    options = {"dtype": image.dtype, "device": image.device}
    x = torch.arange(height, **options) / height
    y = torch.arange(width, **options) / width
    return x[:, None], y[None, :]


BY_POWER = ((0, 1, 3, 4, 6, 9, 10, 12, 15, 19), (2, 5, 8, 11, 14, 18), (7, 13, 17), (16,))
"""Numbers of the coefficients (A is 0) of the terms with i to the power 0, 1, 2 and 3."""


def coefficient_order(device=None):
    """All numbers of BY_POWER, one behind the other, for `cubic`."""
    return torch.tensor([term for terms in BY_POWER for term in terms], device=device)


def cubic(image, raw, order=None):
    """Y2 = clamp(Y1 + f): f a cubic in x, y and the intensity i, coefficients A to T per channel.

    The twenty terms are grouped by the power of i; each group is one product of coefficients and
    monomials of the position. `order`: `coefficient_order` on the image's device, where it must not be
    made anew (a CUDA graph cannot copy from the CPU).
    """
    if order is None:
        order = coefficient_order(image.device)
    x, y = coordinates(image)
    one = torch.ones_like(x * y)
    groups = (
        (x**3, x**2 * y, x**2, x * y**2, x * y, x, y**3, y**2, y, one),
        (x**2, x * y, x, y**2, y, one),
        (x, y, one),
        (one,),
    )
    coefficients = raw.reshape(raw.shape[0], 3, 20).index_select(2, order)
    parts = torch.split(coefficients, [len(terms) for terms in BY_POWER], dim=2)
    by_power = []
    for part, monomials in zip(parts, groups):
        monomials = torch.stack([torch.broadcast_to(monomial, one.shape) for monomial in monomials])
        by_power.append(torch.einsum("nct,thw->nchw", part, monomials))
    change = by_power[0] + image * (by_power[1] + image * (by_power[2] + image * by_power[3]))
    return (image + change).clamp(0, 1)


def per_instance(values):
    """(N, 3 instances) to (N, 3, 1, 1, 1)."""
    return values[:, :, None, None, None]


def scales(raw):
    """The last nine numbers as (N, instance, channel, 1, 1)."""
    return raw[:, 15:24].reshape(-1, 3, 3)[:, :, :, None, None]


def graduated_map(image, raw):
    """(N, 3, H, W): the product of the three graduated masks."""
    x, y = coordinates(image)
    block = [raw[:, 3 * index : 3 * index + 3] for index in range(5)]
    inverted = per_instance(torch.sign(block[0]) > 0)
    m = per_instance(block[1])
    floor = squash(block[2]).detach() + EPSILON
    c = squash(block[3]).clamp(min=floor, max=torch.ones_like(floor))
    o2 = squash(block[4]).clamp(min=torch.zeros_like(c), max=c.detach())
    cos_alpha = torch.cos(torch.atan(block[1]))
    d1 = per_instance(squash(c * cos_alpha))
    d2 = per_instance(squash(o2 * cos_alpha))
    c = per_instance(c)
    s = 2 * squash(scales(raw))
    u = squash(y - (m * x + c + d1))
    q = (1 + s) / 2
    # M = start + slope u: one multiplication per pixel, whatever the branch.
    raised = (q - s) / d1
    slope = torch.where(
        inverted,
        raised + (1 - q) / d2,
        torch.where(s < 1, (q - 1) / d1, raised) + (s - q) / d2,
    )
    start = torch.where(inverted, s, torch.ones_like(s))
    # [1, 2] where the scale brightens, [0, 1] where it darkens.
    low = (s >= 1).to(s.dtype)
    mask = (start + slope * u).clamp(min=low, max=low + 1)
    return mask.prod(dim=1).clamp(0, 2)


def elliptical_map(image, raw):
    """(N, 3, H, W): the product of the three elliptical masks."""
    x, y = coordinates(image)
    block = [squash(raw[:, 3 * index : 3 * index + 3]) for index in range(5)]
    h, v, a, b = (per_instance(values + EPSILON) for values in block[:4])
    theta = per_instance(math.pi * block[4] + EPSILON)
    s = 2 * squash(scales(raw)) + EPSILON
    dx, dy = x - h, y - v
    square = dx**2 + dy**2
    rho = torch.sqrt(square + EPSILON)
    phi = torch.acos((dy / rho).clamp(-1 + 1e-7, 1 - 1e-7)) - theta
    sine, cosine = torch.sin(phi), torch.cos(phi)
    radius = a * b / torch.sqrt(a**2 * sine**2 + b**2 * cosine**2 + EPSILON)
    along = (dx * cosine + dy * sine) ** 2 / a**2
    across = (dx * sine - dy * cosine) ** 2
    # The inside test of instance 1's blue channel uses the b of instance 2.
    tested = b.expand(-1, -1, 3, -1, -1).clone()
    tested[:, 1, 2] = b[:, 2, 0]
    inside = along + across / tested**2 < 1
    distance = torch.sqrt(square + 1e-7) / radius
    mask = torch.where(inside, s + (1 - s) * distance, torch.ones_like(distance))
    return mask.clamp(0, 2).prod(dim=1).clamp(0, 2)


def fuse(backbone_image, filtered, graduated, elliptical):
    """Y = clamp(clamp(Y2 S) + Y1), S = clamp(S_grad + S_ell, 0, 2)."""
    scale = (graduated + elliptical).clamp(0, 2)
    return ((filtered * scale).clamp(0, 1) + backbone_image).clamp(0, 1)


def apply_filters(image, raw):
    """All filters on `image` (N, 3, H, W) with raw parameters (N, 108)."""
    parameters = torch.split(raw, [CUBIC, GRADUATED, ELLIPTICAL], dim=1)
    filtered = cubic(image, parameters[0])
    graduated = graduated_map(image, parameters[1])
    return fuse(image, filtered, graduated, elliptical_map(image, parameters[2]))
