"""Selects the session store by a setting. A store's library is imported when it is chosen."""

from dreamserve.errors import SettingsError
from dreamserve.settings import masked
from dreamserve.store.base import Retention, Store


def open_store(url: str, retention: Retention, *, timeout_s: float, strict: bool) -> Store | None:
    """Return the store that a setting names: memory, sqlite:PATH or redis://...; None for memory.

    Raises SettingsError if it cannot be opened.
    """
    if url == "memory":
        return None
    if url.startswith("sqlite:"):
        from dreamserve.store.sqlite import SqliteStore

        return SqliteStore(url.removeprefix("sqlite:"), retention, timeout_s, sync=strict)
    if url.startswith(("redis://", "rediss://", "unix://")):
        try:
            from dreamserve.store.redis import RedisStore
        except ModuleNotFoundError:
            raise SettingsError(
                "a Redis store needs Redis' client: pip install 'dreamserve[redis]'"
            ) from None

        return RedisStore(url, retention, timeout_s)
    raise SettingsError(
        f"store is {masked(url)!r};"
        " use memory, sqlite:PATH, or a redis://, rediss:// or unix:// URL"
    )
