"""The process's limit of open files, which bounds its connections."""

import logging
import os
from pathlib import Path

from dreamserve.errors import SettingsError

SPARE_FILES = 48  # for the connections' reserve, and files that open while serving
LEAST_CONNECTIONS = 8
_UNKNOWN_FILES = 64  # open files where the system does not list them

log = logging.getLogger("dreamserve")


def connection_limit(wanted: int) -> int:
    """Raise the soft limit of open files if necessary; return how many connections it allows.

    Raises SettingsError for too few.
    """
    if os.name != "posix":
        return wanted
    import resource  # of POSIX only

    needed = wanted + SPARE_FILES + _open_files()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed and soft != resource.RLIM_INFINITY:
        allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = allowed
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    within = wanted - (needed - soft)
    if within < LEAST_CONNECTIONS:
        raise SettingsError(
            f"the limit of {soft} open files leaves no room for connections; raise it (ulimit -n)"
        )
    log.warning(
        "at most %d connections instead of %d: the limit of open files is %d", within, wanted, soft
    )
    return within


def _open_files() -> int:
    try:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())
    except OSError:
        return _UNKNOWN_FILES
