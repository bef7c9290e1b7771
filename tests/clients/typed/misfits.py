"""Lines that mypy must refuse: those marked as wrong, with their code, and no others."""

import dreamserve_client as sdk


def wrong(client: sdk.DreamClient, dream: sdk.DreamSession, other: sdk.AsyncDreamSession) -> None:
    client.step("s1")  # wrong: call-arg
    client.step(1, 1)  # wrong: arg-type
    client.step("s1", 1, include=["frames"])  # wrong: list-item
    client.step("s1", 1, 3)  # wrong: call-arg
    client.reset(sed=7)  # wrong: call-arg
    client.plan("s1", planner="guess")  # wrong: arg-type
    client.rollout(max_steps=3, policy="linear")  # wrong: arg-type
    client.reset(start={"bank": 3})  # wrong: arg-type
    dream.step("s1", 1)  # wrong: call-arg
    dream.rewind(steps="one")  # wrong: arg-type
    print(dream.step(1).latents)  # wrong: attr-defined
    print(other.step(1).latent)  # wrong: attr-defined
    print(client.worlds().worlds)  # wrong: attr-defined
    sdk.DreamClient("http://h", transport="pigeon")  # wrong: arg-type
    sdk.DreamClient("http://h", encoding="yaml")  # wrong: arg-type
    sdk.AsyncDreamClient(transport=sdk.InProcess("b"))  # wrong: arg-type
    client.with_options(timeout=3)  # wrong: call-arg
