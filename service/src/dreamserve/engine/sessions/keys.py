"""The key of a session: its id, or the pair of its owner and its id if it has an owner.

Two owners may use the same id, and no id, however malformed, is the key of another owner's session.
"""

SessionKey = str | tuple[str, str]


def key_of(owner: str, session_id: str) -> SessionKey:
    """Return the key of an owner's session; the owner "" is that of a server without API keys."""
    return (owner, session_id) if owner else session_id


def owner_of(key: SessionKey) -> str:
    """Return the owner of the session with this key."""
    return "" if isinstance(key, str) else key[0]


def id_of(key: SessionKey) -> str:
    """Return the id that its owner gave to the session with this key."""
    return key if isinstance(key, str) else key[1]


def stored_key(key: SessionKey) -> str:
    """Return a session's key in a store: its owner, a colon, and its id.

    An owner's name has no colon, so two owners' keys differ whatever their ids hold.
    """
    return f":{key}" if isinstance(key, str) else ":".join(key)


def key_of_stored(stored: str) -> SessionKey:
    """Return the key of the session that has this key in a store."""
    owner, _, session_id = stored.partition(":")
    return key_of(owner, session_id)
