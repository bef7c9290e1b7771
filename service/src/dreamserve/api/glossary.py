"""What a field means wherever its own declaration does not say: names that many messages share."""

from typing import Any

_FIELDS = {
    "session_id": "Id of the session.",
    "session_ids": "Ids of the sessions, in the order asked.",
    "world": "Name of the world.",
    "step": "Steps that the session has taken; 0 after /reset.",
    "seed": "Seed of the session's noise.",
    "temperature": "Temperature of the dream, as in /reset.",
    "terminated": "Whether the dream has ended.",
    "kind": "Tells the kinds of policy apart.",
    "planner": "Which planner found it.",
    "iterations": "Iterations of the search that were done.",
    "elapsed_ms": "Milliseconds that the search took.",
    "statistics": "Of each policy's episodes.",
    "include": "What the step was asked to include.",
    "format": "Name of the format.",
    "format_version": "Version of the format.",
    "worlds": "One entry for each world.",
    "name": "Name of the world, or of the server.",
    "version": "Version of the server.",
    "backend": "What computes the world's steps.",
    "action_names": "Names of the actions, or of a Box's components.",
    "latent_size": "Z, numbers in a latent.",
    "docs": "Path of the documentation.",
    "openapi": "Path of the OpenAPI document.",
    "ready": "Path that answers 200 once the server is ready.",
    "type": "Always about:blank: `code` tells errors apart.",
    "status": "The status: HTTP's of a problem, the server's of /livez and /readyz.",
    "code": "Tells errors apart; docs/errors.md lists the codes.",
    "detail": "What was wrong, where, and what would be right.",
}


def describe(schemas: dict[str, Any]) -> None:
    """Describe the fields of these schemas that are not described yet."""
    for schema in schemas.values():
        for name, field in schema.get("properties", {}).items():
            if "description" not in field and name in _FIELDS:
                field["description"] = _FIELDS[name]
