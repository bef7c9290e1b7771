"""Where the jobs of a long run work: in processes of this machine, or on a Ray cluster.

Local workers end with the process that started them, and their games end with them. Each has its
own working directory, because ViZDoom writes `_vizdoom/` and `_vizdoom.ini` there; paths that are
passed to a worker must therefore be absolute.
"""

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.queues import SimpleQueue
from typing import Literal

from dreamserve_training.runs.errors import WorkerError

ExecutorName = Literal["local", "ray"]
_chosen: ContextVar[ExecutorName] = ContextVar("executor", default="local")


@contextmanager
def using(executor: ExecutorName) -> Iterator[None]:
    """Let the pools of the block be of this kind; ValueError for an unknown one."""
    if executor not in POOLS:
        raise ValueError(f"no executor {executor!r}; known executors: {', '.join(POOLS)}")
    token = _chosen.set(executor)
    try:
        yield
    finally:
        _chosen.reset(token)


def worker_pool(count: int) -> AbstractContextManager[Executor]:
    """Return a pool of `count` workers of the chosen kind, as a context manager.

    Jobs are functions that can be pickled, with their arguments; they must not depend on which
    worker runs them. Jobs that run when the block fails are killed. Raises WorkerError if a worker
    ends abruptly and its job cannot be run again.
    """
    return POOLS[_chosen.get()](count)


@contextmanager
def local_pool(count: int) -> Iterator[Executor]:
    """Yield a pool of `count` processes; jobs that run when the block fails are killed.

    Workers watch a pipe. It closes when the block fails or this process dies, even by SIGKILL.
    Games of workers that ended in another way, killed for lack of memory say, end with the block.
    Raises WorkerError if a worker ends abruptly.
    """
    # spawn, because a forked ViZDoom would reuse its parent's shared-memory names
    context = get_context("spawn")
    watched, held = context.Pipe(duplex=False)
    groups: SimpleQueue[int] = context.SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="workers-", ignore_cleanup_errors=True) as folder:
        pool = ProcessPoolExecutor(
            count, mp_context=context, initializer=_enter, initargs=(watched, groups, folder)
        )
        try:
            yield pool
            pool.shutdown()
        except BrokenProcessPool as error:
            raise WorkerError(
                "a worker process ended abruptly, perhaps for lack of memory;"
                " the same call goes on from here"
            ) from error
        finally:
            held.close()
            pool.shutdown(cancel_futures=True)
            while not groups.empty():
                with suppress(ProcessLookupError):
                    os.killpg(groups.get(), signal.SIGKILL)
            watched.close()


def _enter(watched: Connection, groups: "SimpleQueue[int]", folder: str) -> None:
    os.setsid()  # Ctrl-C is the parent's; games are in this group and end with it
    groups.put(os.getpid())
    os.chdir(tempfile.mkdtemp(dir=folder))
    threading.Thread(target=_end_with, args=(watched, folder), daemon=True).start()


def _end_with(watched: Connection, folder: str) -> None:
    try:
        watched.recv_bytes()
    except EOFError:
        shutil.rmtree(folder, ignore_errors=True)
        os.killpg(0, signal.SIGKILL)


def _ray_pool(count: int) -> AbstractContextManager[Executor]:
    from dreamserve_training.runs.ray_pool import ray_pool  # ray is optional

    return ray_pool(count)


POOLS: Mapping[ExecutorName, Callable[[int], AbstractContextManager[Executor]]] = {
    "local": local_pool,
    "ray": _ray_pool,
}
