"""Requests with PNG files: what a server decodes, and where.

A file of some kilobytes may say that it holds gigabytes. All files of a request are checked by
their headers before one is decoded: their number, their pixels, and the bytes of all their frames.
"""

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, TypeVar

from dreamserve.api.codec import LARGE_PNG_BYTES
from dreamserve.observations import FrameSpec
from dreamserve.settings import Settings
from dreamserve_protocol.errors import TooLargeError
from dreamserve_protocol.pictures import PngBounds

FEW_FILES = 8  # that the event loop decodes itself

T = TypeVar("T")
Aside = Callable[[Callable[[], Any]], Awaitable[Any]]  # runs a function in a thread


class PngReader:
    """Makes requests of bodies, in a thread if the body or the frames of its PNG files are large.

    A file has no more pixels than the largest frame of a world here; the frames of a request have
    no more bytes than a body, in which they might have come as arrays.
    """

    def __init__(self, frames: Iterable[FrameSpec], settings: Settings, aside: Aside) -> None:
        self._aside = aside
        self._most_files, self._total_bytes = settings.max_frames, settings.max_body_bytes
        self.measure(frames)

    def measure(self, frames: Iterable[FrameSpec]) -> None:
        """Bound files by these worlds' frames from now on."""
        pixels = max(map(_pixels, frames), default=1)
        self._all = PngBounds(self._most_files, pixels, self._total_bytes)
        self._few = PngBounds(
            min(FEW_FILES, self._most_files), pixels, min(LARGE_PNG_BYTES, self._total_bytes)
        )

    async def built(self, build: Callable[[PngBounds], T], is_quick: bool) -> T:
        """Return what `build` makes of a body; it raises TooLargeError beyond the given bounds.

        `is_quick`: whether that takes little time but for PNG files.
        """
        if is_quick:
            try:
                return build(self._few)
            except TooLargeError:
                pass  # too large for the event loop
        built: T = await self._aside(partial(build, self._all))
        return built


def _pixels(spec: FrameSpec) -> int:
    """Return the pixels of the larger one of the two frames that a world takes."""
    return max(height * width for height, width, _ in (spec.source_shape, spec.shape))
