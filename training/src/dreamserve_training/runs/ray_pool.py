"""Jobs on a Ray cluster: at RAY_ADDRESS, or on this machine.

A worker that dies costs the jobs that it had only: Ray runs them again on another. Workers of other
machines see the same files under the same paths, and have the same packages.
"""

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any

from dreamserve_training.runs.errors import WorkerError

RETRIES = 10  # of a job whose worker died
LOCAL = "127.0.0.1"
HANDLED = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def ray_pool(count: int) -> Iterator[Executor]:
    """Yield a pool on the cluster that `ray_cluster` finds or starts. A job takes one CPU.

    Raises ImportError if ray is not installed, and WorkerError if a job's worker died RETRIES
    times, or if no cluster is there.
    """
    with (
        tempfile.TemporaryDirectory(prefix="workers-", ignore_cleanup_errors=True) as folder,
        ray_cluster(count) as ray,
    ):
        pool = RayExecutor(ray, folder)
        try:
            yield pool
            pool.shutdown()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class RayExecutor(Executor):
    """Submits jobs to Ray; futures are those of `concurrent.futures`."""

    def __init__(self, ray: Any, folder: str) -> None:
        self._ray, self._folder = ray, folder
        options = {"num_cpus": 1, "max_retries": RETRIES, "retry_exceptions": False}
        self._run = ray.remote(**options)(_run)
        self._jobs: dict[Future[Any], Any] = {}

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """Return the future of `function(*arguments, **named)`."""
        job: Future[Any] = Future()
        job.set_running_or_notify_cancel()
        reference = self._run.remote(self._folder, function, arguments, named)
        self._jobs[job] = reference
        reference.future().add_done_callback(partial(self._finish, job))
        return job

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for all jobs, or kill those that run."""
        jobs = dict(self._jobs)
        if cancel_futures:
            for reference in jobs.values():
                self._ray.cancel(reference, force=True)
        if wait:
            for job in jobs:
                job.exception()

    def _finish(self, job: Future[Any], done: Future[Any]) -> None:
        self._jobs.pop(job, None)
        error = done.exception()
        if error is None:
            job.set_result(done.result())
        elif isinstance(error, self._ray.exceptions.RayTaskError):
            job.set_exception(error.cause)  # what the function raised
        else:
            job.set_exception(WorkerError(f"a worker of the Ray cluster was lost: {error}"))


@contextmanager
def ray_cluster(count: int) -> Iterator[Any]:
    """Yield the module ray, connected: to the cluster at RAY_ADDRESS, or to one that starts here.

    That has `count` CPUs, and ends with the block or this process. A connection that this process
    has already is used. Raises as `ray_pool` does.
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError("pip install 'dreamserve-training[ray]' for the executor ray") from error
    if ray.is_initialized():
        yield ray
        return
    handlers = {number: signal.getsignal(number) for number in HANDLED}
    options: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    if not os.environ.get("RAY_ADDRESS"):
        # for this machine only: nothing listens on its other addresses
        options |= {"num_cpus": count, "include_dashboard": False, "_node_ip_address": LOCAL}
    try:
        try:
            ray.init(**options)
        except ConnectionError as error:
            raise WorkerError(f"no Ray cluster at RAY_ADDRESS: {error}") from error
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)  # Ray replaces SIGTERM's
        yield ray
    finally:
        ray.shutdown()


def _run(folder: str, function: Callable[..., Any], arguments: Any, named: Any) -> Any:
    """Run a job in a worker."""
    _enter(folder)
    return function(*arguments, **named)


@lru_cache
def _enter(folder: str) -> None:
    """Give this worker a folder of its own, because games leave files where they run."""
    inside = folder if os.path.isdir(folder) else None  # not there on another machine
    os.chdir(tempfile.mkdtemp(prefix="worker-", dir=inside))
