"""The most memory that all clients together can make the server's sockets take."""

from dreamserve.api.codec import JSON_GROWTH
from dreamserve.api.connections import RESERVE
from dreamserve.api.elements import LARGE_BYTES
from dreamserve.api.service import CODEC_THREADS
from dreamserve.api.wire import PACKET_BYTES
from dreamserve.engine.memory import jobs_bytes
from dreamserve.settings import Settings

LIST_BYTES = 120  # of an empty list or object, or a key, with the reference to it
NUMBER_BYTES = 40  # of a number with the reference to it
OBJECTS_BYTES = 32 * 1024  # of a connection: protocol, parser, transport, request


def wire_memory(settings: Settings) -> dict[str, float]:
    """Return bytes by purpose, from the settings alone; the engine's memory is not included.

    Each is an upper bound of what clients can hold at once, however they behave.
    """
    # A head and a packet, a body, and a response that are too small to count elsewhere.
    connection = settings.max_head_bytes + PACKET_BYTES + 2 * LARGE_BYTES + OBJECTS_BYTES
    job_bytes = settings.max_job_bytes  # of results: work in progress goes on without room
    decoded = LIST_BYTES * settings.max_lists + NUMBER_BYTES * settings.max_elements
    return {
        "request bodies": settings.max_bodies_bytes,
        "decoding": CODEC_THREADS * (decoded + 3 * settings.max_body_bytes),
        "results": settings.max_responses_bytes + jobs_bytes(settings.max_jobs, job_bytes),
        "responses": settings.max_responses_bytes,
        "connections": (settings.max_connections + RESERVE) * connection,
        "waiting requests": settings.max_queue * LARGE_BYTES * JSON_GROWTH,
    }
