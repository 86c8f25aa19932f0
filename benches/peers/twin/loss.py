"""The release's training loss: mean scaled CIELAB difference + 1e-3 (1 - MS-SSIM of the luminance)."""

import torch
from torch.nn import functional

XYZ_FROM_RGB = (
    (0.412453, 0.212671, 0.019334),
    (0.357580, 0.715160, 0.119193),
    (0.180423, 0.072169, 0.950227),
)
"""A row of linear red, green, blue times this is X, Y, Z (sRGB primaries, D65)."""

WHITE_X, WHITE_Z = 0.950456, 1.088754
EPSILON = 6 / 29

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the five scales (Wang, Simoncelli and Bovik 2003)."""

WINDOW, SIGMA = 5, 1.5
C1, C2 = 1e-4, 9e-4


def scaled_lab(image, matrix):
    """(N, 3, H, W) sRGB in [0, 1] to CIELAB, each channel scaled to about [0, 1]. `matrix`: XYZ_FROM_RGB."""
    linear = torch.where(
        image <= 0.04045, image / 12.92, ((image.clamp(min=1e-6) + 0.055) / 1.055) ** 2.4
    )
    x, y, z = torch.einsum("nchw,cd->ndhw", linear, matrix).unbind(dim=1)
    ratios = torch.stack([x / WHITE_X, y, z / WHITE_Z])
    fx, fy, fz = torch.where(
        ratios <= EPSILON**3, ratios / (3 * EPSILON**2) + 4 / 29, ratios.clamp(min=1e-4) ** (1 / 3)
    )
    lightness = (116 * fy - 16) / 100
    a = (500 * (fx - fy) / 110 + 1) / 2
    b = (200 * (fy - fz) / 110 + 1) / 2
    return torch.nan_to_num(torch.stack([lightness, a, b], dim=1), nan=0.0)


def window(dtype):
    """(1, 1, 5, 5) Gaussian that sums to one."""
    distance = torch.arange(WINDOW, dtype=dtype) - WINDOW // 2
    line = torch.exp(-(distance**2) / (2 * SIGMA**2))
    line = line / line.sum()
    return (line[:, None] * line[None, :])[None, None]


def ms_ssim(first, second, kernel):
    """Per image; (N, 1, H, W), `kernel` from `window`. The last scale's SSIM enters four times, as in
    the release."""
    ssims, contrasts = [], []
    for scale in range(len(WEIGHTS)):
        if scale:
            first, second = functional.avg_pool2d(first, 2), functional.avg_pool2d(second, 2)
        moments = torch.cat([first, second, first**2, second**2, first * second], dim=1)
        count = moments.shape[1]
        means = functional.conv2d(
            moments, kernel.expand(count, 1, -1, -1), padding=WINDOW // 2, groups=count
        )
        mean1, mean2, square1, square2, product = means.split(1, dim=1)
        variances = square1 - mean1**2 + square2 - mean2**2
        contrast = (2 * (product - mean1 * mean2) + C2) / (variances + C2)
        luminance = (2 * mean1 * mean2 + C1) / (mean1**2 + mean2**2 + C1)
        ssims.append(((luminance * contrast).mean(dim=(1, 2, 3)) + 1) / 2)
        contrasts.append((contrast.mean(dim=(1, 2, 3)) + 1) / 2)
    result = ssims[-1] ** (WEIGHTS[-1] * 4)
    for contrast, weight in zip(contrasts[:-1], WEIGHTS[:-1]):
        result = result * contrast**weight
    return result


def constants(dtype, device=None):
    """What `loss` needs beside the images. Made once where a CUDA graph is captured, which cannot copy
    from the CPU."""
    return torch.tensor(XYZ_FROM_RGB, dtype=dtype, device=device), window(dtype).to(device)


def loss(prediction, target, fixed=None):
    """Mean over the images. `fixed`: `constants` of their type and device."""
    matrix, kernel = fixed or constants(prediction.dtype, prediction.device)
    prediction, target = scaled_lab(prediction, matrix), scaled_lab(target, matrix)
    difference = (prediction - target).abs().mean(dim=(1, 2, 3))
    structure = ms_ssim(prediction[:, :1], target[:, :1], kernel)
    return (difference + 1e-3 * (1 - structure)).mean()
