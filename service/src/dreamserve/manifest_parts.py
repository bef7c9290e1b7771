"""The parts of a manifest that say what the bundle's files are."""

import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

GraphName = Literal["encode", "step", "decode", "policy"]
Format = Literal["onnx", "torchscript"]
Size = Annotated[int, Field(ge=1, lt=2**31)]  # of one axis
Count = Annotated[int, Field(ge=0, lt=2**31)]


class Part(BaseModel):
    """A part of the manifest; it has no unknown fields and no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FileSpec(Part):
    """A file of the bundle, by its plain name, and the sha256 of its bytes (hex)."""

    file: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _plain_name(self) -> Self:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", self.file):
            raise ValueError(f"{self.file!r} is not a plain file name")
        return self


class GraphSpec(Part):
    """One graph, its inputs and outputs in order; the torch backends need it as TorchScript."""

    onnx: FileSpec
    torchscript: FileSpec | None = None
    opset: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Graphs(Part):
    """The graphs of a world."""

    encode: GraphSpec
    step: GraphSpec
    decode: GraphSpec | None = None
    policy: GraphSpec | None = None

    def by_name(self) -> dict[GraphName, GraphSpec]:
        """Return the graphs that there are, by name."""
        named: dict[GraphName, GraphSpec | None] = {
            "encode": self.encode,
            "step": self.step,
            "decode": self.decode,
            "policy": self.policy,
        }
        return {name: graph for name, graph in named.items() if graph is not None}


class BankSpec(FileSpec):
    """Real moments, `size` of them."""

    size: Size
    ages: bool = False  # whether it holds `age` (N,): steps since the episode's beginning


class ControllerSpec(FileSpec):
    """A linear policy: scores = weights @ concat(inputs) + bias.

    `inputs` names `latent` and recurrent tensors, in order. The file holds `weights`
    (actions, features) and `bias` (actions,), float32. See `spaces` for the action.
    """

    kind: Literal["linear"] = "linear"
    inputs: tuple[str, ...] = Field(min_length=1)
