"""The manifest of a world bundle: all that is needed to serve the world and to judge its quality.

A bundle is a folder:

    manifest.json     this schema
    encode.onnx  step.onnx      and, where the world has them, decode.onnx and policy.onnx
    encode.pt    step.pt        optional: the same graphs as TorchScript
    bank.npz          real moments: the head's posterior, `state.NAME` for each recurrent tensor,
                      and optionally `age`
    controller.npz    optional: a policy evolved in the dream
    card.md, *.png    for people

The graphs are pure functions, float32 unless said otherwise, with a dynamic batch axis B:

    encode  frames (B, H, W, C) in value_range, or vectors (B, n); with `encode_memory` also every
            recurrent tensor (B, *shape)             → the posterior of the latent, by head
    step    latent (B, Z), action, every recurrent tensor (B, *shape), temperature (B,),
            noise (B, normal + uniform)
            → next_latent (B, Z), reward (B,), done_logit (B,), next_NAME for every recurrent
              tensor, the prediction of the next latent, by head, every signal (B,)
    decode  latent (B, Z)                            → frames in value_range, or vectors
    policy  latent (B, Z), every recurrent tensor    → scores (B, width), see `spaces`

`action` is int64 or float32 (B, *shape), see `spaces`. `noise` holds standard normals first, then
uniforms in (0, 1). The recurrent tensors after a step do not depend on its noise. By head:

    head              posterior                  prediction
    gaussian_mixture  mu, logvar (B, Z)          mixture_logits, mixture_mu, mixture_log_sigma:
                                                 see `heads.gaussian_mixture`
    categorical       logits (B, groups, classes)    the same
    deterministic     mean (B, Z)                    the same

A uniform picks a component or a class by inverse CDF; a normal of 0 gives a component's mean.
A manifest of schema 1 is converted on loading (`dreamserve.schema_1`).
"""

from collections.abc import Iterable, Iterator
from math import log, log1p, prod
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from dreamserve.heads import LatentHead
from dreamserve.heads.base import Array, Shape
from dreamserve.manifest_parts import (
    BankSpec,
    ControllerSpec,
    Count,
    FileSpec,
    GraphName,
    Graphs,
    Part,
    Size,
)
from dreamserve.observations import ObservationSpec
from dreamserve.schema_1 import convert_schema_1
from dreamserve.spaces import ActionSpace

Bools = npt.NDArray[np.bool_]

RESERVED = ("survival", "target", "target_weight")  # names of a plan's objectives


class TensorSpec(Part):
    """A recurrent tensor, float32, without its batch axis."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=100)
    shape: Annotated[tuple[Size, ...], Field(max_length=8)]


class NoiseSpec(Part):
    """Numbers of standard normals and of uniforms in (0, 1) that one step takes, in this order."""

    normal: Count
    uniform: Count


class DoneRule(Part):
    """When the dream terminates.

    `threshold`: when done_logit > threshold. `drawn`: with the probability sigmoid(done_logit), by
    a uniform of its own, which follows those that the step takes.
    """

    rule: Literal["threshold", "drawn"] = "threshold"
    threshold: float = 0.0

    def __str__(self) -> str:
        if self.rule == "drawn":
            return "drawn with the probability sigmoid(logit)"
        return f"logit above {self.threshold:g}"

    def ends(self, done_logit: Array, uniform: Array | None) -> Bools:
        """Return whether dreams end, (B,), by their logits and, if drawn, uniforms, (B,) each."""
        if uniform is None:
            ends: Bools = done_logit > self.threshold
            return ends
        # Below the sigmoid, as a comparison of logits. Python's `log` has no vectors of the CPU,
        # whose last bits would depend on a row's position.
        logits = [log(u) - log1p(-u) for u in uniform.tolist()]
        return done_logit > np.array(logits)

    @model_validator(mode="after")
    def _drawn_has_no_threshold(self) -> Self:
        if self.rule == "drawn" and self.threshold:
            raise ValueError("an end that is drawn has no threshold")
        return self


class SignalSpec(Part):
    """A number that the step returns beside the reward.

    `value` is the expected sum of rewards from the next latent on, `uncertainty` how little the
    world knows about this step; other names are free.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=100)
    description: str = Field(max_length=1000)


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
    observation: ObservationSpec
    latent_size: Size
    recurrent_state: tuple[TensorSpec, ...]
    head: LatentHead
    noise: NoiseSpec
    temperature_rule: Literal["paper", "weights_only"]
    done: DoneRule
    reward: RewardRule
    encode_memory: bool = False  # whether `encode` takes the recurrent tensors, too
    has_decode: bool = True
    has_policy: bool = False
    signals: tuple[SignalSpec, ...] = ()

    def graph_inputs(self) -> dict[GraphName, dict[str, Shape]]:
        """Return the shape of one row of every input of every graph, by graph and name, in order.

        `action` is int64 or float32 (see `spaces`), everything else float32.
        """
        latent, state = {"latent": (self.latent_size,)}, self._state_shapes()
        shapes: dict[GraphName, dict[str, Shape]] = {
            "encode": {
                self.observation.tensor: self.observation.shape,
                **(state if self.encode_memory else {}),
            },
            "step": {
                **latent,
                "action": self.action_space.shape,
                **state,
                "temperature": (),
                "noise": (self.noise.normal + self.noise.uniform,),
            },
        }
        if self.has_decode:
            shapes["decode"] = {**latent}
        if self.has_policy:
            shapes["policy"] = {**latent, **state}
        return shapes

    def graph_outputs(self) -> dict[GraphName, dict[str, Shape]]:
        """Return the shape of one row of every output of every graph, by graph and name, in order.

        All are float32.
        """
        z = self.latent_size
        shapes: dict[GraphName, dict[str, Shape]] = {
            "encode": self.head.posterior(z),
            "step": {
                "next_latent": (z,),
                "reward": (),
                "done_logit": (),
                **{f"next_{name}": shape for name, shape in self._state_shapes().items()},
                **self.head.outputs(z),
                **{signal.name: () for signal in self.signals},
            },
        }
        if self.has_decode:
            shapes["decode"] = {self.observation.tensor: self.observation.shape}
        if self.has_policy:
            shapes["policy"] = {"scores": (self.action_space.width,)}
        return shapes

    def _state_shapes(self) -> dict[str, Shape]:
        return {tensor.name: tensor.shape for tensor in self.recurrent_state}

    def mixture_shapes(self) -> dict[str, Shape]:
        """Return the shapes of the parameters of one step's head, as clients are shown them."""
        return self.head.shown(self.latent_size)

    def mixture_bytes(self) -> int:
        """Return the bytes of one step's parameters, as float32."""
        return 4 * sum(map(prod, self.mixture_shapes().values()))

    def tensor_sizes(self) -> dict[str, int]:
        """Return the sizes of the latent and of each recurrent tensor, by name."""
        return {"latent": self.latent_size, **{t.name: prod(t.shape) for t in self.recurrent_state}}

    def named_state(self, state: Iterable[Any]) -> dict[str, Any]:
        """Return recurrent tensors, which come in the manifest's order, by name."""
        return {t.name: part for t, part in zip(self.recurrent_state, state, strict=True)}

    def named_signals(self, signals: Iterable[Any]) -> dict[str, Any]:
        """Return signals, which come in the manifest's order, by name."""
        return {s.name: part for s, part in zip(self.signals, signals, strict=True)}

    def state_bytes(self) -> int:
        """Return the bytes of one session's latent and recurrent state."""
        return 4 * sum(self.tensor_sizes().values())

    @model_validator(mode="after")
    def _head_fits(self) -> Self:
        self.head.check_latent_size(self.latent_size)
        return self

    @model_validator(mode="after")
    def _names_differ_in_each_graph(self) -> Self:
        takes_state = {"step": True, "encode": self.encode_memory, "policy": self.has_policy}
        others = self.model_copy(update={"recurrent_state": ()}).graph_inputs()
        for graph, outputs in self.graph_outputs().items():
            taken = {*others[graph], *outputs}
            for tensor in self.recurrent_state if takes_state.get(graph) else ():
                if tensor.name in taken:
                    raise ValueError(
                        f"a recurrent tensor may not be named {tensor.name!r}: graph {graph} has"
                        f" {', '.join(sorted(taken))}"
                    )
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        recurrent = [tensor.name for tensor in self.recurrent_state]
        if len(set(recurrent)) != len(recurrent):
            raise ValueError(f"recurrent tensors share a name: {recurrent}")
        without_signals = self.model_copy(update={"signals": ()})
        step = (part["step"] for part in (self.graph_inputs(), without_signals.graph_outputs()))
        taken = [*(name for names in step for name in names), *RESERVED]
        for name in (signal.name for signal in self.signals):
            if name in taken:
                raise ValueError(f"a signal may not be named {name!r}, which has another meaning")
            taken.append(name)
        return self


class Manifest(WorldSpec):
    """A bundle's manifest: the fields of `manifest.json`, or what those of schema 1 stand for."""

    schema_version: Literal[2] = 2
    version: str = Field(pattern=r"^[0-9a-f]{16}$")  # a hash of all other fields of the file
    action_alignment: Literal["a_t is taken in z_t and yields z_{t+1}, r_{t+1}, d_{t+1}"] = (
        "a_t is taken in z_t and yields z_{t+1}, r_{t+1}, d_{t+1}"
    )
    graphs: Graphs
    bank: BankSpec
    controller: ControllerSpec | None = None
    origin: dict[str, Any]  # environment id and version, data hash, seeds, recipe, commit
    quality: dict[str, Any]  # the measurements of the card

    @model_validator(mode="before")
    @classmethod
    def _from_schema_1(cls, fields: Any) -> Any:
        if not isinstance(fields, dict) or fields.get("schema_version", 2) != 1:
            return fields
        return convert_schema_1(fields)

    @model_validator(mode="after")
    def _graphs_fit(self) -> Self:
        inputs, outputs = self.graph_inputs(), self.graph_outputs()
        if self.graphs.by_name().keys() != inputs.keys():
            raise ValueError(
                f"the graphs must be {list(inputs)}, as has_decode and has_policy say,"
                f" they are {list(self.graphs.by_name())}"
            )
        for name, graph in self.graphs.by_name().items():
            expected = tuple(inputs[name]), tuple(outputs[name])
            if (graph.inputs, graph.outputs) != expected:
                raise ValueError(
                    f"graph {name} must map {expected[0]} to {expected[1]},"
                    f" the manifest says {graph.inputs} to {graph.outputs}"
                )
        return self

    @model_validator(mode="after")
    def _one_controller(self) -> Self:
        if self.has_policy and self.controller is not None:
            raise ValueError("give a policy graph or a controller, not both")
        return self

    @model_validator(mode="after")
    def _files_differ(self) -> Self:
        names = [spec.file.lower() for spec in self.files()]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"names the file {twice[0]} twice; each part has a file of its own")
        return self

    def files(self) -> Iterator[FileSpec]:
        """Yield every file that the manifest names, each of which is another one."""
        for graph in self.graphs.by_name().values():
            yield from filter(None, (graph.onnx, graph.torchscript))
        yield from filter(None, (self.bank, self.controller))
