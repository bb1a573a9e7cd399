"""What one picture and two neighbouring pictures say: layout, local change, global motion.

Pictures are grey, FRAME_HEIGHT × FRAME_WIDTH. Motion is a similarity transform found by
Gauss-Newton on an image pyramid (Lucas and Kanade 1981; Baker and Matthews 2004, additive
form): batched over frames, because numpy's cost is per call.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coeval.samples import FloatArray

FRAME_WIDTH, FRAME_HEIGHT = 64, 48
CELLS_ACROSS, CELLS_DOWN = 6, 4
NUM_CELLS = CELLS_ACROSS * CELLS_DOWN

PYRAMID = ((16, 12), (32, 24), (64, 48))
"""Widths and heights of the levels, coarse first: shifts of about 8 pixels of 64 are in reach."""
STEPS_PER_LEVEL = 3
NUM_MOTION = 4


def to_float(grey: NDArray[np.uint8]) -> FloatArray:
    """Brightness 0…1, shape as given."""
    brightness: FloatArray = grey.astype(np.float32) / np.float32(255.0)
    return brightness


def cells(pictures: FloatArray) -> FloatArray:
    """Mean over a 4 × 6 grid, shape (n, 48, 64) → (n, 24)."""
    n, height, width = pictures.shape
    across = np.linspace(0, width, CELLS_ACROSS + 1).astype(int)[:-1]
    down = np.linspace(0, height, CELLS_DOWN + 1).astype(int)[:-1]
    sums = np.add.reduceat(np.add.reduceat(pictures, down, axis=1), across, axis=2)
    areas = np.diff(np.append(down, height))[:, None] * np.diff(np.append(across, width))
    means: FloatArray = (sums / areas).reshape(n, NUM_CELLS).astype(np.float32)
    return means


def layout(pictures: FloatArray) -> FloatArray:
    """Brightness of the cells against the picture's own mean and contrast, shape (n, 24)."""
    brightness = cells(pictures)
    brightness = brightness - brightness.mean(axis=1, keepdims=True)
    contrast: FloatArray = brightness / (brightness.std(axis=1, keepdims=True) + 0.05)
    return contrast


def shrink(pictures: FloatArray) -> FloatArray:
    """Half size by averaging 2 × 2, shape (n, h, w) → (n, h/2, w/2)."""
    n, height, width = pictures.shape
    quads = pictures.reshape(n, height // 2, 2, width // 2, 2)
    smaller: FloatArray = quads.mean(axis=(2, 4))
    return smaller


def warp(pictures: FloatArray, motion: FloatArray, *, x: FloatArray, y: FloatArray) -> FloatArray:
    """Pictures sampled where the motion says their pixels went, bilinear, edges repeated.

    Args:
        pictures: shape (n, h, w).
        motion: shift x, shift y (in widths), rotation (rad), zoom, shape (n, 4).
        x: pixel columns from the middle, in widths, shape (h, w).
        y: pixel rows from the middle, in widths, shape (h, w).

    Returns:
        Warped pictures, shape (n, h, w).
    """
    n, height, width = pictures.shape
    tx, ty, turn, zoom = (motion[:, k, None, None] for k in range(4))
    u = ((x + tx + zoom * x - turn * y) * width + (width - 1) / 2).clip(0, width - 1.001)
    v = ((y + ty + zoom * y + turn * x) * width + (height - 1) / 2).clip(0, height - 1.001)
    left, top = u.astype(np.int32), v.astype(np.int32)
    fu, fv = u - left, v - top
    flat = pictures.ravel()
    corner = top * width + left + (np.arange(n, dtype=np.int32) * (height * width))[:, None, None]
    a, b = flat[corner], flat[corner + 1]
    c, d = flat[corner + width], flat[corner + width + 1]
    upper = a + fu * (b - a)
    warped: FloatArray = upper + fv * (c + fu * (d - c) - upper)
    return warped


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureChange:
    """What carries each picture onto the next one."""

    motion: FloatArray
    """Shift right and down (in picture widths), rotation (rad, clockwise on the screen), zoom
    (share), shape (n, 4)."""
    light: FloatArray
    """Brightness that exposure or flicker added to each pixel of the next picture, shape as the
    pictures; 0 where it was not asked for."""
    residual: FloatArray
    """Mean absolute brightness that neither explains, shape (n,)."""


def global_change(before: FloatArray, after: FloatArray, *, light: bool) -> PictureChange:
    """Similarity transform, and change of light, that carry `before` onto `after`.

    Light is a gain and an offset of the whole picture, solved for together with the motion: a
    camera that tilts towards the sky is not mistaken for one that opens its iris.

    Args:
        before: pictures, shape (n, 48, 64).
        after: the next pictures, shape (n, 48, 64).
        light: whether to solve for gain and offset; otherwise brightness is taken for constant.
    """
    n = len(before)
    motion = np.zeros((n, NUM_MOTION), np.float32)
    gain_offset = np.zeros((n, 2), np.float32)
    levels = [(before, after)]
    while levels[-1][0].shape[2] > PYRAMID[0][0]:
        levels.append((shrink(levels[-1][0]), shrink(levels[-1][1])))
    warped = after
    for old, new in reversed(levels):
        height, width = old.shape[1:]
        x = ((np.arange(width) - (width - 1) / 2) / width).astype(np.float32)[None, :]
        y = ((np.arange(height) - (height - 1) / 2) / width).astype(np.float32)[:, None]
        x, y = np.broadcast_to(x, (height, width)), np.broadcast_to(y, (height, width))
        gx = np.zeros_like(old)
        gy = np.zeros_like(old)
        gx[:, :, 1:-1] = (old[:, :, 2:] - old[:, :, :-2]) * (width / 2)
        gy[:, 1:-1, :] = (old[:, 2:, :] - old[:, :-2, :]) * (width / 2)
        columns = [gx, gy, gy * x - gx * y, gx * x + gy * y]
        if light:
            columns += [old - 0.5, np.ones_like(old)]
        jacobian = np.stack(columns, axis=1).reshape(n, len(columns), -1)
        normal = jacobian @ jacobian.transpose(0, 2, 1)
        diagonal = np.arange(len(columns))
        ridge = 1e-4 * normal[:, diagonal, diagonal].max(axis=1) + 1e-3
        normal[:, diagonal, diagonal] += ridge[:, None]
        inverse = np.linalg.inv(normal)
        for _ in range(STEPS_PER_LEVEL):
            warped = warp(new, motion, x=x, y=y)
            difference = (old - warped).reshape(n, -1, 1)
            step = (inverse @ (jacobian @ difference))[:, :, 0]
            motion = motion + np.clip(step[:, :NUM_MOTION], -0.1, 0.1)
            if light:
                gain_offset = np.clip(-step[:, NUM_MOTION:], -0.5, 0.5)
    old = levels[0][0]
    added = gain_offset[:, :1, None] * (old - 0.5) + gain_offset[:, 1:, None]
    residual = np.abs(warped - old - added).mean(axis=(1, 2))
    return PictureChange(motion=motion, light=added, residual=residual.astype(np.float32))
