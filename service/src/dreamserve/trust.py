"""How far a bundle of a stranger is trusted: the bounds of loading it. `docs/bundle.md`, Trust."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trust:
    """Bounds of loading a bundle. The settings of the same names have the same defaults."""

    max_bundle_bytes: int = 2**30  # of its files; and of its arrays, unpacked
    max_graph_bytes: int = 4 * 2**30  # memory of each graph, as it is tried and as it runs
    load_timeout_s: float = 60.0  # time that loading and trying its graphs may take
    trust_torchscript: bool = False  # TorchScript is a program: it runs only for a trusted bundle


UNTRUSTED = Trust()
