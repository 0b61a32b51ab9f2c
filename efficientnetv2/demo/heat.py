"""Heat maps laid over pictures."""

import numpy as np
from PIL import Image

# From cold to hot: dark violet, red, orange, light yellow.
_PLACES = (0.0, 0.35, 0.7, 1.0)
_COLOURS = np.array(
    [[60, 15, 110], [190, 45, 80], [250, 140, 20], [255, 250, 170]], np.float32
)
_STRENGTH = 0.75  # of the colour where it is hottest


def overlay(picture, heat_map, *, side):
    """Colours a picture where a heat map is hot.

    Args:
        picture: uint8 [size, size, 3].
        heat_map: float32 [rows, columns], 0 to 1.
        side: Of the result, pixels.

    Returns:
        uint8 [side, side, 3]; grey where the map is cold.
    """
    shape = (side, side)
    heat = Image.fromarray(heat_map).resize(shape, Image.Resampling.BICUBIC)
    heat = np.clip(np.asarray(heat), 0, 1)
    colours = np.stack(
        [np.interp(heat, _PLACES, _COLOURS[:, c]) for c in range(3)], -1
    )
    grey = Image.fromarray(picture).convert("L")
    grey = grey.resize(shape, Image.Resampling.BICUBIC)
    grey = np.asarray(grey, np.float32)
    share = _STRENGTH * heat[..., np.newaxis]
    mixed = (1 - share) * grey[..., np.newaxis] + share * colours
    return np.round(mixed).astype(np.uint8)
