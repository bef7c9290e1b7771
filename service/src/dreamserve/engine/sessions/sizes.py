"""The most bytes that a step's result takes while a session keeps it, by the sizes of its world."""

from dreamserve.manifest import WorldSpec
from dreamserve.observations import bytes_of

OBJECT_BYTES = 1024  # of the objects around a record, a result or a request
SIGNAL_BYTES = 256  # of a signal as a number of Python, in a record and by name in a result
ARRAY_BYTES = 256  # of the objects around the elements of an array: a view, its base, its name


def answer_bytes(spec: WorldSpec) -> int:
    """Return the bytes of a step's result with everything included, which a session keeps."""
    elements = bytes_of(spec.observation) + spec.mixture_bytes() + 2 * spec.state_bytes()
    # latent, frame, the latter's pixels as decoded, and the last state with its latent
    arrays = len(spec.mixture_shapes()) + len(spec.recurrent_state) + 4
    return OBJECT_BYTES + elements + ARRAY_BYTES * arrays + SIGNAL_BYTES * len(spec.signals)


def kept_step_bytes(spec: WorldSpec) -> int:
    """Return the bytes of a step in a rewind window: the session's state, and its result."""
    arrays = len(spec.recurrent_state) + 2  # latent and action
    return OBJECT_BYTES + spec.state_bytes() + ARRAY_BYTES * arrays + answer_bytes(spec)
