"""The manifest of a world bundle: all that is needed to serve the world and to judge its quality.

A bundle is a folder:

    manifest.json     this schema
    encode.onnx  step.onnx  decode.onnx      the same graphs twice, once for each backend
    encode.pt    step.pt    decode.pt
    bank.npz          real starting points: mu, logvar, and `state.NAME` for each recurrent tensor
    controller.npz    optional: a policy evolved in the dream
    card.md, *.png    for people

The graphs are pure functions, float32 unless said otherwise, with a dynamic batch axis B:

    encode  frames (B, H, W, C) in value_range       → mu (B, Z), logvar (B, Z)
    step    latent (B, Z), action, every recurrent tensor (B, *shape), temperature (B,),
            noise (B, normal + uniform)
            → next_latent (B, Z), reward (B,), done_logit (B,), next_NAME for every recurrent
              tensor, mixture_logits, mixture_mu, mixture_log_sigma
    decode  latent (B, Z)                            → frames (B, H, W, C) in value_range

`action` is int64 (B,) for Discrete and float32 (B, *shape) for Box. `noise` holds standard normals
first, then uniforms in (0, 1): a uniform picks a component by inverse CDF; a normal of 0 gives its
mean. The recurrent tensors after a step do not depend on its noise. Mixture shapes (logits, mu,
log_sigma): joint (B, K), (B, K, Z), (B, K, Z); per_dimension (B, K, Z) for all three; isotropic
(B, K), (B, K, Z), (B, K).
"""

from collections.abc import Iterable, Iterator
from math import prod
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from dreamserve.manifest_parts import (
    BankSpec,
    ControllerSpec,
    Count,
    FileSpec,
    Graphs,
    GraphSpec,
    Part,
    Size,
)
from dreamserve.spaces import ActionSpace


class Crop(Part):
    """Pixels of the source frame that are kept; bottom and right exclusive."""

    top: Count
    bottom: Size
    left: Count
    right: Size


class FrameSpec(Part):
    """How a camera's frame is converted to the world's input frame (`dreamserve.frames`)."""

    source_shape: tuple[Size, Size, Size]  # H, W, C of the camera, uint8
    crop: Crop
    shape: tuple[Size, Size, Size]  # H, W, C that `encode` takes and `decode` gives
    color_order: Literal["RGB"] = "RGB"
    value_range: tuple[float, float] = (0.0, 1.0)

    @model_validator(mode="after")
    def _crop_inside_source(self) -> Self:
        height, width, channels = self.source_shape
        crop = self.crop
        if not (crop.top < crop.bottom <= height and crop.left < crop.right <= width):
            raise ValueError(f"crop {crop} is not inside the source frame {self.source_shape}")
        if channels != self.shape[2]:
            raise ValueError(f"frame shape {self.shape} does not follow from {self.source_shape}")
        if not self.value_range[0] < self.value_range[1]:
            raise ValueError(f"value_range {self.value_range} must rise")
        return self


class TensorSpec(Part):
    """A recurrent tensor, float32, without its batch axis."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=100)
    shape: Annotated[tuple[Size, ...], Field(max_length=8)]


class MixtureSpec(Part):
    """The mixture density head (Bishop 1994) with K components."""

    head: Literal["joint", "per_dimension", "isotropic"]
    components: Size


class NoiseSpec(Part):
    """Numbers of standard normals and of uniforms in (0, 1) that one step takes, in this order."""

    normal: Count
    uniform: Count


class DoneRule(Part):
    """The dream terminates when done_logit > threshold."""

    threshold: float = 0.0


class RewardRule(Part):
    """`head`: the world predicts the reward. `constant`: `value` for every survived step."""

    kind: Literal["head", "constant"]
    value: float | None = None

    @model_validator(mode="after")
    def _constant_has_value(self) -> Self:
        if (self.kind == "constant") != (self.value is not None):
            raise ValueError("a constant reward has a value, a reward head has none")
        return self


class WorldSpec(Part):
    """A world's shapes, rules and action space, independent of its graphs' format."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=100)
    action_space: ActionSpace
    frame: FrameSpec
    latent_size: Size
    recurrent_state: tuple[TensorSpec, ...]
    mixture: MixtureSpec
    noise: NoiseSpec
    temperature_rule: Literal["paper", "weights_only"]
    done: DoneRule
    reward: RewardRule

    def step_inputs(self) -> tuple[str, ...]:
        """Return the names of the step graph's inputs, in order."""
        states = (tensor.name for tensor in self.recurrent_state)
        return ("latent", "action", *states, "temperature", "noise")

    def step_outputs(self) -> tuple[str, ...]:
        """Return the names of the step graph's outputs, in order."""
        states = (f"next_{tensor.name}" for tensor in self.recurrent_state)
        mixture = ("mixture_logits", "mixture_mu", "mixture_log_sigma")
        return ("next_latent", "reward", "done_logit", *states, *mixture)

    def mixture_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of one step's weights (or their logits), mu and sigma."""
        components, matrix = (self.mixture.components,), (self.mixture.components, self.latent_size)
        return {
            "weights": matrix if self.mixture.head == "per_dimension" else components,
            "mu": matrix,
            "sigma": components if self.mixture.head == "isotropic" else matrix,
        }

    def mixture_bytes(self) -> int:
        """Return the bytes of one step's mixture, as float32."""
        return 4 * sum(map(prod, self.mixture_shapes().values()))

    def tensor_sizes(self) -> dict[str, int]:
        """Return the sizes of the latent and of each recurrent tensor, by name."""
        return {"latent": self.latent_size, **{t.name: prod(t.shape) for t in self.recurrent_state}}

    def named_state(self, state: Iterable[Any]) -> dict[str, Any]:
        """Return recurrent tensors, which come in the manifest's order, by name."""
        return {t.name: part for t, part in zip(self.recurrent_state, state, strict=True)}

    def state_bytes(self) -> int:
        """Return the bytes of one session's latent and recurrent state."""
        return 4 * sum(self.tensor_sizes().values())

    @model_validator(mode="after")
    def _recurrent_names_differ(self) -> Self:
        names = [tensor.name for tensor in self.recurrent_state]
        if len(set(names)) != len(names):
            raise ValueError(f"recurrent tensors share a name: {names}")
        return self


class Manifest(WorldSpec):
    """A bundle's manifest: the fields of `manifest.json`."""

    schema_version: Literal[1] = 1
    version: str = Field(pattern=r"^[0-9a-f]{16}$")  # a hash of all other fields
    action_alignment: Literal["a_t is taken in z_t and yields z_{t+1}, r_{t+1}, d_{t+1}"] = (
        "a_t is taken in z_t and yields z_{t+1}, r_{t+1}, d_{t+1}"
    )
    graphs: Graphs
    bank: BankSpec
    controller: ControllerSpec | None = None
    origin: dict[str, Any]  # environment id and version, data hash, seeds, recipe, commit
    quality: dict[str, Any]  # the measurements of the card

    @model_validator(mode="after")
    def _graphs_fit(self) -> Self:
        expected = {
            "encode": (("frames",), ("mu", "logvar")),
            "step": (self.step_inputs(), self.step_outputs()),
            "decode": (("latent",), ("frames",)),
        }
        for name, (inputs, outputs) in expected.items():
            graph: GraphSpec = getattr(self.graphs, name)
            if graph.inputs != inputs or graph.outputs != outputs:
                raise ValueError(
                    f"graph {name} must map {inputs} to {outputs},"
                    f" the manifest says {graph.inputs} to {graph.outputs}"
                )
        return self

    @model_validator(mode="after")
    def _files_differ(self) -> Self:
        names = [spec.file.lower() for spec in self.files()]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"names the file {twice[0]} twice; each part has a file of its own")
        return self

    def files(self) -> Iterator[FileSpec]:
        """Yield every file that the manifest names, each of which is another one."""
        for graph in (self.graphs.encode, self.graphs.step, self.graphs.decode):
            yield from (graph.onnx, graph.torchscript)
        yield from filter(None, (self.bank, self.controller))
