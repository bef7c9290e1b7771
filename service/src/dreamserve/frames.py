"""Converts a camera's frame to a world's input frame: crop, then area-average to the model's size.

Training and the server both use this function, so frames are the same in both.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image

UInt8 = npt.NDArray[np.uint8]


def crop_and_resize(frame: UInt8, crop: tuple[int, int, int, int], size: tuple[int, int]) -> UInt8:
    """Return `frame` (H, W, C) uint8 cropped to `crop` and averaged down to `size`, uint8.

    `crop` is (top, bottom, left, right) in pixels of the source, bottom and right exclusive;
    `size` is (height, width). The caller has checked that the crop lies inside the frame.
    """
    top, bottom, left, right = crop
    kept = np.ascontiguousarray(frame[top:bottom, left:right])
    if kept.shape[2] == 3:
        return _resize(kept, size)
    # each channel alone: Pillow takes two or four channels for pictures with transparency
    channels = [_resize(kept[..., i], size) for i in range(kept.shape[2])]
    return np.stack(channels, axis=-1)


def _resize(picture: UInt8, size: tuple[int, int]) -> UInt8:
    height, width = size
    resized = Image.fromarray(picture).resize((width, height), Image.Resampling.BOX)
    return np.asarray(resized)
