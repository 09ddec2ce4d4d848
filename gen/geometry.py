"""Lines that do not lie flat: rotation, shear, perspective and stretch in one resampling, boxes included.

    python -m tools.preview --rows effect --boxes -o sheet.png

With (u, v) the place in the straight line and (x, y) in the result, both measured from the centres,

    x = (u - lean * v) * stretch * fit
    y = v * fit * (1 + taper * x / half) + slope * x + shift

where ``lean`` is shear plus the tangent of the rotation, ``half`` half the length and ``taper`` the perspective.
``fit`` makes the line smaller where it would leave the image; where that would be by more than a quarter, rotation and
perspective are reduced instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gen import paint
from gen.effects import Applied
from gen.kernel import kernel

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
NAMES = ("rotation", "shear", "perspective", "stretch")
LEAST_FIT = 0.75


Shape = tuple[int, int, int, float, float, float, float, float, float]


@kernel
def _place(shape: Shape, u: float, v: float) -> tuple[float, float]:
    thickness, length, new_length, slope, lean, taper, stretch, fit, shift = shape
    u, v = u - (length - 1) / 2, v - (thickness - 1) / 2
    x = (u - lean * v) * stretch * fit
    y = v * fit * (1 + taper * x / (new_length / 2)) + slope * x + shift
    return x + (new_length - 1) / 2, y + (thickness - 1) / 2


@kernel
def _around(shape: Shape, box: Ints) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a bent box, from edge to edge."""
    left, top, right, bottom = 1e9, 1e9, -1e9, -1e9
    for i in range(2):
        for j in range(2):
            x, y = _place(shape, box[0] + i * box[2] - 0.5, box[1] + j * box[3] - 0.5)
            left, top, right, bottom = min(left, x), min(top, y), max(right, x), max(bottom, y)
    return left + 0.5, top + 0.5, right + 0.5, bottom + 0.5


@kernel
def _extent(shape: Shape, boxes: Ints) -> tuple[float, float]:
    top, bottom = 1e9, -1e9
    for k in range(len(boxes)):
        _, high, _, low = _around(shape, boxes[k])
        top, bottom = min(top, high), max(bottom, low)
    return top, bottom


@kernel
def _bent_boxes(shape: Shape, boxes: Ints, result: Ints) -> None:
    thickness, width = shape[0], shape[2]
    for k in range(len(boxes)):
        left, top, right, bottom = _around(shape, boxes[k])
        x, y = max(0, min(int(np.floor(left + 0.25)), width - 1)), max(0, min(int(np.floor(top + 0.25)), thickness - 1))
        result[k, 0], result[k, 1], result[k, 2], result[k, 3] = x, y, 0, 0
        if boxes[k, 2] > 0 and boxes[k, 3] > 0:
            result[k, 2] = max(1, min(int(np.ceil(right - 0.25)), width) - x)
            result[k, 3] = max(1, min(int(np.ceil(bottom - 0.25)), thickness) - y)


@dataclass(frozen=True)
class Bend:
    """A map from a straight line of ``length`` to a bent one of ``new_length`` px; both ``thickness`` px across."""

    thickness: int
    length: int
    new_length: int
    slope: float
    lean: float
    taper: float
    stretch: float
    fit: float
    shift: float

    @property
    def shape(self) -> Shape:
        """The fields, as the kernels take them."""
        sizes = self.thickness, self.length, self.new_length
        return *sizes, self.slope, self.lean, self.taper, self.stretch, self.fit, self.shift

    def extent(self, boxes: Ints) -> tuple[float, float]:
        """Top and bottom of all boxes when bent, px."""
        return _extent(self.shape, boxes)

    def boxes(self, boxes: Ints) -> Ints:
        """The upright boxes around bent ones, cut to the image; int32 [n, 4]. Those without area stay so."""
        result = np.empty_like(boxes)
        _bent_boxes(self.shape, boxes, result)
        return result

    def mask(self, mask: Bytes) -> Bytes:
        """The bent pixels, uint8 [thickness, new_length]."""
        result = np.empty((self.thickness, self.new_length), np.uint8)
        across, middle = (self.thickness - 1) / 2, (self.new_length - 1) / 2
        x = np.arange(self.new_length) - middle
        tilt = 1 / (self.fit * (1 + self.taper * x / (self.new_length / 2)))
        offset = across - (across + self.shift + self.slope * x) * tilt
        step = 1 / (self.stretch * self.fit)
        begin = (self.length - 1) / 2 - middle * step - self.lean * across
        paint.bend(mask, result, tilt, offset, step, self.lean, begin)
        return result


def make_bend(applied: Applied, boxes: Ints, length: int, thickness: int) -> tuple[Bend, dict[str, float]]:
    """The map for the effects of a line, and the strengths that were possible, ``fit`` among them when below 1.

    ``boxes`` int32 [n, 4] are those of the straight line.
    """
    strength = {name: applied[name][0] for name in NAMES if name in applied}
    stretch = strength.get("stretch", 1.0)
    fit = 1.0
    for _ in range(12):
        slope = strength.get("rotation", 0.0) * math.pi / 180
        lean = strength.get("shear", 0.0) + slope
        wide = math.ceil((length + abs(lean) * thickness) * stretch * fit)
        bend = Bend(thickness, length, max(wide, 8), slope, lean, strength.get("perspective", 0.0), stretch, fit, 0.0)
        top, bottom = bend.extent(boxes)
        if bottom - top <= thickness:
            break
        wanted = fit * thickness / (bottom - top + 0.5)
        if wanted >= LEAST_FIT:
            fit = wanted
        else:
            for name in ("rotation", "perspective"):
                if name in strength:
                    strength[name] = round(strength[name] * 0.6, 3)
    shift = max(0.0, -top) - max(0.0, bottom - thickness)
    if fit < 1:
        strength["fit"] = round(fit, 3)
    return Bend(thickness, length, bend.new_length, slope, lean, bend.taper, stretch, fit, shift), strength
