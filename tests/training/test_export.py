"""Export: the files compute what was trained, or nothing is written."""

import errno
import json
import re
import shutil
import zipfile
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from tests.training.conftest import export_tiny

from dreamserve.backends.accuracy import relative_difference
from dreamserve.backends.fake import SPACES
from dreamserve.backends.onnx import OnnxBackend
from dreamserve.backends.torch import TorchBackend
from dreamserve.bundle import load_bundle
from dreamserve.errors import BundleError
from dreamserve.manifest import SignalSpec
from dreamserve.observations import Crop, FrameSpec
from dreamserve.spaces import BoxSpace, DiscreteSpace
from dreamserve_training.data.episodes import DataError, save_episode
from dreamserve_training.export import (
    ExportError,
    ModelBackend,
    Picture,
    export_world,
    make_bank,
    parity,
    round_to_half,
    spec_of,
    world,
    world_spec,
    writing,
)
from dreamserve_training.export.graphs import StepGraph
from dreamserve_training.export.parity import check_parity, same_in_every_batch
from dreamserve_training.export.writing import _write_arrays
from dreamserve_training.models.controller import LinearPolicy
from dreamserve_training.models.mdnrnn import MDNRNN
from dreamserve_training.models.vae import ConvVAE

Z, A, R, K = 4, 3, 8, 3
FRAME = FrameSpec(
    source_shape=(80, 80, 3), crop=Crop(top=0, bottom=80, left=0, right=80), shape=(64, 64, 3)
)
NAMES = ("stay", "left", "right")


def parts(head="per_dimension", rule="paper", space=None):
    """Return the arguments of `export_world` for a tiny untrained world."""
    torch.manual_seed(0)
    vae, reward = ConvVAE(Z), None if isinstance(space, BoxSpace) else 1.0
    options = {"predict_done": True, "predict_reward": reward is None}
    if space is None:
        space = DiscreteSpace(n=A, names=NAMES)
        mdnrnn = MDNRNN(Z, A, R, K, head, **options)
    else:
        mdnrnn = MDNRNN(Z, None, R, K, head, action_space=space, **options)
    spec = spec_of("tiny", space, FRAME, mdnrnn, temperature_rule=rule, constant_reward=reward)
    rng = np.random.default_rng(0)
    c = rng.standard_normal((16, R)).astype(np.float32)
    bank = {
        "mu": rng.standard_normal((16, Z)).astype(np.float32),
        "logvar": rng.standard_normal((16, Z)).astype(np.float32),
        "state.h": 0.5 * np.tanh(c),
        "state.c": c,
    }
    origin = {"environment": "Toy-v0"}
    quality = {"likelihood": {"nll": 1.0, "floor": 0.7}}
    return {
        "spec": spec,
        "vae": vae,
        "memory": mdnrnn,
        "bank": bank,
        "origin": origin,
        "quality": quality,
    }


WORLDS = {
    "joint, MultiDiscrete": parts("joint", "weights_only", SPACES["MultiDiscrete"]),
    "per_dimension": parts("per_dimension", "paper"),
    "isotropic, continuous": parts("isotropic", "paper", SPACES["Box with odd bounds"]),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return what exports a world of WORLDS, once, and returns its folder."""

    @cache
    def write(name):
        content = WORLDS[name]
        width = content["spec"].action_space.width
        policy = LinearPolicy(np.ones((width, Z + R), np.float32), np.zeros(width, np.float32))
        picture = Picture(Image.new("RGB", (8, 8)), "Darkness.")
        folder = tmp_path_factory.mktemp("worlds") / "tiny"
        return export_world(folder, **content, controller=policy, pictures={"night": picture})

    return write


@pytest.fixture(params=WORLDS)
def exported(request, written):
    """Return (parts, folder) of an exported world of each head."""
    return WORLDS[request.param], written(request.param)


@pytest.fixture
def draft(written):
    """Return a bundle with the graphs of WORLDS["per_dimension"], which are slow to trace."""
    return written("per_dimension")


@pytest.fixture
def part_of(draft, tmp_path_factory):
    """Return what copies the graphs of the draft that match a pattern to a folder."""

    def copied(pattern):
        folder = tmp_path_factory.mktemp("part")
        for path in draft.glob(pattern):
            shutil.copy(path, folder)
        return folder

    return copied


def backends(content, folder):
    bundle = load_bundle(folder)
    reference = ModelBackend(content["spec"], *round_to_half(content["vae"], content["memory"]))
    return reference, OnnxBackend.from_bundle(bundle), TorchBackend.from_bundle(bundle)


def test_every_format_computes_what_the_pytorch_models_compute(exported):
    content, folder = exported
    reference, on, ts = backends(content, folder)
    worst = check_parity(content["spec"], reference, {"onnx": on, "torchscript": ts}, seed=7)
    assert max(worst.values()) < parity.TOLERANCE
    quality = load_bundle(folder).manifest.quality["parity"]
    assert set(quality["worst_relative_difference"]) == {"onnx", "torchscript"}
    assert quality["onnx_cpu_same_bits_in_every_batch"] is True


def test_the_bundle_holds_what_it_was_given(exported):
    content, folder = exported
    bundle = load_bundle(folder)
    assert bundle.manifest.origin == content["origin"]
    assert bundle.manifest.quality["likelihood"] == content["quality"]["likelihood"]
    np.testing.assert_allclose(bundle.bank["mu"], content["bank"]["mu"], rtol=1e-3)
    assert bundle.manifest.controller.inputs == ("latent", "h")
    width = content["spec"].action_space.width
    assert bundle.controller["weights"].shape == (width, Z + R)
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]


def test_weights_are_stored_in_half_precision_and_computed_in_single(exported):
    content, folder = exported
    graph = onnx.load(folder / "step.onnx").graph
    kinds = {weight.name: weight.data_type for weight in graph.initializer if len(weight.dims) == 2}
    assert set(kinds.values()) == {onnx.TensorProto.FLOAT16}
    with zipfile.ZipFile(folder / "step.pt") as archive:
        tensors = [e.file_size for e in archive.infolist() if "/data/" in e.filename]
    memory = content["memory"]
    recurrent, heads = 2 * 4 * R * (memory.lstm.input_size + R), 2 * R * head_size(memory)
    assert max(tensors) == max(recurrent, heads)


def head_size(mdnrnn):
    heads = (mdnrnn.mdn_head, mdnrnn.reward_head, mdnrnn.done_head)
    return sum(head.out_features for head in heads if head is not None)


def test_no_file_contains_the_path_where_it_was_written(exported):
    _, folder = exported
    home = str(folder.parents[2]).encode()
    for path in folder.iterdir():
        contents = [path.read_bytes()]
        if path.suffix == ".pt":
            with zipfile.ZipFile(path) as archive:
                contents = [archive.read(name) for name in archive.namelist()]
        for content in contents:
            assert home not in content
            assert b"site-packages" not in content
            assert b"dreamserve_training/graphs.py:" not in content


def test_the_card_says_what_the_world_is_and_shows_its_pictures(exported):
    content, folder = exported
    card = (folder / "card.md").read_text()
    named = content["spec"].action_space.names[0]
    for words in ("# tiny", named, "nll | 1", "![night](night.png)", "Darkness.", "Toy-v0"):
        assert words in card
    assert load_bundle(folder).manifest.version in card
    with Image.open(folder / "night.png") as picture:
        assert picture.size == (8, 8)


def test_an_older_bundle_is_replaced_completely(draft, tmp_path):
    folder = export_world(tmp_path / "tiny", **WORLDS["per_dimension"], draft=draft)
    (folder / "left-over.txt").write_text("old")
    export_world(folder, **{**WORLDS["per_dimension"], "origin": {"run": 2}}, draft=draft)
    assert load_bundle(folder).manifest.origin == {"run": 2}
    assert not (folder / "left-over.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_a_folder_that_is_no_bundle_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ExportError, match="is not a bundle"):
        export_world(tmp_path, **WORLDS["per_dimension"])
    assert (tmp_path / "thesis.txt").read_text() == "precious"


class SwappedStep(StepGraph):
    """A step graph that swaps the h and c of the LSTM."""

    def forward(self, latent, action, h, c, temperature, noise):
        drawn, reward, done, h, c, *mixture = super().forward(
            latent, action, h, c, temperature, noise
        )
        return drawn, reward, done, c, h, *mixture


def test_a_world_whose_h_and_c_are_swapped_is_refused_and_leaves_nothing(
    part_of, tmp_path, monkeypatch
):
    monkeypatch.setattr(world, "StepGraph", SwappedStep)
    with pytest.raises(ExportError, match="next_h and next_c are swapped"):
        export_world(tmp_path / "tiny", **WORLDS["per_dimension"], draft=part_of("*code.*"))
    assert not list(tmp_path.iterdir())


def test_swapped_names_in_one_file_are_detected(exported):
    content, folder = exported
    model = onnx.load(folder / "step.onnx")
    swap = {"next_h": "next_c", "next_c": "next_h"}
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [swap.get(name, name) for name in names]
    bundle = load_bundle(folder)
    files = {name: bundle.graph_bytes(name, "onnx") for name in ("encode", "decode")}
    swapped = OnnxBackend(content["spec"], {**files, "step": model.SerializeToString()})
    reference, *_ = backends(content, folder)
    with pytest.raises(ExportError, match="next_h and next_c are swapped"):
        check_parity(content["spec"], reference, {"onnx": swapped})


def test_swapped_inputs_are_detected(exported):
    content, folder = exported
    reference, on, _ = backends(content, folder)
    crossed = Altered(on, before=lambda step: replace(step, state=step.state[::-1]))
    with pytest.raises(ExportError, match="differs from pytorch"):
        check_parity(content["spec"], reference, {"crossed": crossed})


class Altered:
    """A backend whose inputs pass through `before` and outputs through `after`."""

    name = "altered"

    def __init__(self, backend, before=lambda step: step, after=lambda output: output):
        self.backend, self.before, self.after = backend, before, after
        self.encode, self.decode = backend.encode, backend.decode

    def step(self, step):
        return self.after(self.backend.step(self.before(step)))


@pytest.mark.parametrize(
    ("field", "factor", "message"),
    [
        ("latent", np.nan, "NaN"),
        ("head", (1, np.inf, 1), "mixture_mu holds NaN"),
        ("head", (1.01, 1, 1), "differs"),
    ],
)
def test_outputs_that_are_wrong_or_not_finite_are_refused(field, factor, message):
    content = WORLDS["per_dimension"]
    reference = ModelBackend(content["spec"], content["vae"], content["memory"])

    def spoil(out):
        value = getattr(out, field)
        if isinstance(value, tuple):
            return replace(out, **{field: tuple(map(np.multiply, value, factor))})
        return replace(out, **{field: value * factor})

    spoilt = Altered(reference, after=spoil)
    with pytest.raises(ExportError, match=message):
        check_parity(content["spec"], reference, {"spoilt": spoilt})


def test_a_step_whose_rows_affect_each_other_is_detected():
    content = WORLDS["per_dimension"]
    reference = ModelBackend(content["spec"], content["vae"], content["memory"])
    dependent = Altered(
        reference, after=lambda out: replace(out, reward=out.reward + out.latent.mean())
    )
    assert not same_in_every_batch(content["spec"], dependent)


def test_an_export_that_fails_half_way_leaves_nothing(part_of, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(writing, "write_torchscript", fail)
    with pytest.raises(OSError, match="no space left"):
        export_world(tmp_path / "tiny", **WORLDS["per_dimension"], draft=part_of("*.onnx"))
    assert not list(tmp_path.iterdir())


def test_a_failed_export_keeps_the_bundle_that_was_there(draft, tmp_path):
    folder = export_world(tmp_path / "tiny", **WORLDS["per_dimension"], draft=draft)
    before = load_bundle(folder).manifest.version
    with pytest.raises(ExportError, match="may have at most 1,000"):
        export_world(folder, max_bytes=1000, **WORLDS["per_dimension"], draft=draft)
    assert load_bundle(folder).manifest.version == before
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_an_error_of_loading_names_the_folder_that_was_asked_for(draft, tmp_path, monkeypatch):
    def refuse(folder):
        raise BundleError(f"{folder}/step.onnx: is damaged")

    monkeypatch.setattr(writing, "load_bundle", refuse)
    with pytest.raises(ExportError, match=re.escape(f": {tmp_path}/tiny/step.onnx: is damaged")):
        export_world(tmp_path / "tiny", **WORLDS["per_dimension"], draft=draft)


def test_the_graphs_of_a_draft_are_copied_unless_they_are_of_other_models(
    draft, tmp_path, monkeypatch
):
    monkeypatch.delattr(writing, "write_onnx")
    monkeypatch.delattr(writing, "write_torchscript")
    folder = export_world(tmp_path / "tiny", **WORLDS["per_dimension"], draft=draft)
    assert load_bundle(folder).manifest.graphs == load_bundle(draft).manifest.graphs
    torch.manual_seed(1)
    other = MDNRNN(Z, A, R, K, "per_dimension", predict_done=True)
    with pytest.raises(ExportError, match="differs from pytorch"):
        export_world(folder, **{**WORLDS["per_dimension"], "memory": other}, draft=draft)


def test_weights_beyond_half_precision_are_refused_by_name(tmp_path):
    content = parts()
    content["memory"].mdn_head.bias.data[0] = 1e6
    with pytest.raises(ExportError, match=r"MDNRNN\.mdn_head\.bias"):
        export_world(tmp_path / "tiny", **content)


def test_rounding_twice_changes_nothing_more():
    content = parts()
    once = round_to_half(content["vae"], content["memory"])
    twice = round_to_half(*once)
    for first, second in zip(once, twice, strict=True):
        for name, weight in first.state_dict().items():
            assert torch.equal(weight, second.state_dict()[name]), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vae": ConvVAE(Z + 1)}, "latent sizes"),
        ({"memory": MDNRNN(Z, A + 1, R, K)}, r"the model takes Discrete\(4\)"),
        ({"memory": MDNRNN(Z, A, R, K, predict_reward=True)}, "reward rule"),
        ({"bank": {}}, "bank must hold"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change, message, tmp_path):
    with pytest.raises(ExportError, match=message):
        export_world(tmp_path / "tiny", **{**parts(), **change})
    assert not list(tmp_path.iterdir())


def test_a_bank_whose_h_and_c_are_swapped_is_refused(tmp_path):
    content = parts()
    bank = content["bank"]
    bank["state.h"], bank["state.c"] = bank["state.c"], bank["state.h"]
    with pytest.raises(ExportError, match=r"are state\.h and state\.c swapped"):
        export_world(tmp_path / "tiny", **content)


def latent_episode(rng, steps):
    return {
        "mu": rng.standard_normal((steps, Z)).astype(np.float16),
        "logvar": rng.standard_normal((steps, Z)).astype(np.float16),
        "actions": rng.integers(A, size=steps),
        "rewards": np.ones(steps, np.float32),
        "terminated": np.arange(steps) == steps - 1,
    }


def test_the_bank_holds_real_frames_and_the_memory_of_the_steps_before(tmp_path):
    rng = np.random.default_rng(0)
    mdnrnn = parts()["memory"].eval()
    episodes = [latent_episode(rng, steps) for steps in (3, 30, 40)]
    for i, episode in enumerate(episodes):
        save_episode(tmp_path / f"{i}.npz", episode)
    bank = make_bank(mdnrnn, tmp_path, size=30, max_burn_in=5)
    firsts = 0
    for row in range(30):
        episode = episodes[row * 3 // 30]
        [step] = np.flatnonzero((episode["mu"] == bank["mu"][row]).all(axis=1))
        assert step <= 5
        np.testing.assert_array_equal(bank["logvar"][row], episode["logvar"][step])
        h, c = memory_after(mdnrnn, episode, step)
        np.testing.assert_allclose(bank["state.h"][row], h, atol=1e-3)
        np.testing.assert_allclose(bank["state.c"][row], c, atol=2e-3)
        firsts += step == 0
    assert firsts > 0


def memory_after(mdnrnn, episode, steps):
    """Return h and c after the first `steps` steps, each (R,)."""
    if not steps:
        return np.zeros(R), np.zeros(R)
    z = torch.from_numpy(episode["mu"][None, :steps].astype(np.float32))
    with torch.inference_mode():
        state = mdnrnn(z, torch.from_numpy(episode["actions"][None, :steps])).state
    return tuple(part[0].numpy() for part in state)


@pytest.mark.parametrize("batch", [1, 10**6])  # numbers at once: an episode, or all of them
def test_a_bank_of_every_age_holds_the_memory_of_all_steps_before(tmp_path, monkeypatch, batch):
    monkeypatch.setattr("dreamserve_training.export.bank._BATCH_NUMBERS", batch)
    rng, mdnrnn = np.random.default_rng(0), parts()["memory"].eval()
    episodes = [latent_episode(rng, steps) for steps in (3, 300, 40)]
    for i, episode in enumerate(episodes):
        save_episode(tmp_path / f"{i}.npz", episode)
    bank = make_bank(mdnrnn, tmp_path, size=60, beginnings=0.25, late=1.0)
    assert (bank["age"][:15] <= 16).all()
    assert bank["age"][15:].max() > 280, "no moment is late"
    for row, age in enumerate(bank["age"].astype(int)):
        [episode] = [e for e in episodes if (e["mu"] == bank["mu"][row]).all(axis=1)[age:].any()]
        np.testing.assert_array_equal(bank["logvar"][row], episode["logvar"][age])
        h, c = memory_after(mdnrnn, episode, age)
        np.testing.assert_allclose(bank["state.h"][row], h, atol=1e-3)
        np.testing.assert_allclose(bank["state.c"][row], c, atol=2e-3)


@pytest.mark.parametrize(("late", "median"), [(0.0, 500), (1.0, 707), (3.0, 841)])
def test_late_moments_are_drawn_in_proportion_to_a_power_of_their_age(tmp_path, late, median):
    save_episode(tmp_path / "0.npz", latent_episode(np.random.default_rng(0), 1000))
    bank = make_bank(parts()["memory"], tmp_path, size=100, beginnings=0.0, late=late)
    assert np.median(bank["age"]) == pytest.approx(median, abs=15)


def test_moments_of_episodes_of_one_step_come_from_all_of_them(tmp_path):
    for number in range(9):
        episode = latent_episode(np.random.default_rng(number), 1)
        save_episode(tmp_path / f"{number}.npz", episode)
    bank = make_bank(parts()["memory"], tmp_path, size=90, beginnings=0.0, late=1.0)
    assert (bank["age"] == 0).all()
    assert len(np.unique(bank["mu"], axis=0)) == 9


def test_a_bank_holds_moments_that_are_later_than_half_precision_counts(tmp_path):
    ages = np.array([3.0, 70_000.0], np.float32)
    _write_arrays(tmp_path / "bank.npz", {"mu": np.zeros((2, 4), np.float32), "age": ages})
    with np.load(tmp_path / "bank.npz") as written:
        assert written["age"].tolist() == [3, 70_000]


def test_a_bank_cannot_be_made_of_sampled_latents(tmp_path):
    episode = latent_episode(np.random.default_rng(0), 5)
    episode["z"] = episode.pop("mu")
    del episode["logvar"]
    save_episode(tmp_path / "0.npz", episode)
    with pytest.raises(DataError, match="lacks mu, logvar"):
        make_bank(parts()["memory"], tmp_path)


def test_a_relative_difference_is_measured_against_the_larger_of_element_and_scale():
    assert relative_difference([1.0, -1.0], [1.0, -1.0]) == 0.0
    assert relative_difference([100.0, 0.0], [101.0, 0.0]) == pytest.approx(0.01)
    assert relative_difference([1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.1, 0.0]) == pytest.approx(
        0.1 / np.sqrt(0.5)
    )


def test_a_manifest_is_plain_json_for_people_too(exported):
    _, folder = exported
    fields = json.loads((folder / "manifest.json").read_text())
    assert fields["name"] == "tiny"
    assert fields["graphs"]["step"]["inputs"][2:4] == ["h", "c"]


def test_a_full_disk_is_told_with_the_bundles_folder(
    tiny_models, take_cover, tmp_path, monkeypatch
):
    def full(*parts):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writing, "_write_graphs", full)
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}/tiny'"):
        export_tiny(tmp_path, take_cover, *tiny_models)
    assert [path.name for path in tmp_path.iterdir()] == ["latents"]


def test_the_documents_example_writes_a_world_of_another_kind(tmp_path, monkeypatch):
    """A GRU with one Gaussian, no uniform noise and another name of the state."""
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "bundle.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    [example] = (one for one in examples if "write_bundle(" in one)
    exec(compile(example, "docs/bundle.md", "exec"), {"__name__": "example"})
    bundle = load_bundle(tmp_path / "my-world")
    assert bundle.manifest.name == "my-world"
    assert [tensor.name for tensor in bundle.manifest.recurrent_state] == ["memory"]
    assert [path.name for path in tmp_path.iterdir()] == ["my-world"]


class OneSize(torch.nn.Module):
    def forward(self, vectors):
        return vectors.reshape(len(vectors), 2, 2).sum(2)


def test_a_module_that_was_traced_for_one_batch_size_is_refused_with_what_to_change(tmp_path):
    says = r"x.onnx: the batch axis of vectors became the constant 2.*use x\.shape\[0\]"
    example, file = (torch.zeros(2, 4),), tmp_path / "x.onnx"
    with pytest.raises(ExportError, match=says):
        writing.write_onnx(OneSize().eval(), example, ("vectors",), ("mean",), file)


class Branches(torch.nn.Module):
    def forward(self, vectors):
        return vectors * 2 if vectors.sum() > 3 else vectors


def test_a_module_that_branches_on_values_is_refused_with_the_line_that_does(tmp_path):
    says = r"x.onnx: torch cannot export .*\(.*test_export.py, line \d+: .*if vectors.sum\(\) > 3"
    example, file = (torch.zeros(2, 4),), tmp_path / "x.onnx"
    with pytest.raises(ExportError, match=says):
        writing.write_onnx(Branches().eval(), example, ("vectors",), ("mean",), file)


@pytest.mark.parametrize(("hit", "factor", "passes"), [(4e-4, 1.002, True), (0.3, 1.0003, False)])
def test_parity_allows_rounding_of_small_probabilities_only(
    hit, factor, passes, tiny_models, take_cover
):
    spec = world_spec("tiny", take_cover, tiny_models[1], constant_reward=1.0)
    spec = spec.model_copy(update={"signals": (SignalSpec(name="hit", description="a hit"),)})

    class Says(ModelBackend):
        def step(self, batch):
            hits = np.full(len(batch.latent), self.hit, np.float32)
            return replace(super().step(batch), signals=(hits,))

    reference, other = (Says(spec, *tiny_models) for _ in range(2))
    reference.hit, other.hit = hit, hit * factor
    with nullcontext() if passes else pytest.raises(ExportError, match="in hit; at most"):
        check_parity(spec, reference, {"other": other})


@pytest.mark.parametrize(("error", "passes"), [(1e-6, True), (1e-3, False)])
def test_parity_compares_a_reward_that_is_near_zero_by_its_usual_size(
    error, passes, tiny_models, take_cover
):
    spec = world_spec("tiny", take_cover, tiny_models[1], constant_reward=1.0)

    class Pays(ModelBackend):
        def step(self, batch):  # about 1, but nearly nothing where a dream is alone
            output = super().step(batch)
            size = np.float32(1e-4 if len(output.reward) == 1 else 1)
            return replace(output, reward=size * batch.noise[:, 0] + self.error)

    reference, other = (Pays(spec, *tiny_models) for _ in range(2))
    reference.error, other.error = np.float32(0), np.float32(error)
    with nullcontext() if passes else pytest.raises(ExportError, match="in reward; at most"):
        check_parity(spec, reference, {"other": other})


def test_weights_that_were_not_rounded_are_refused(tmp_path):
    layer = torch.nn.Linear(Z, Z).eval()
    with pytest.raises(ExportError, match="weight: weights must be rounded"):
        writing.write_torchscript(layer, (torch.zeros(2, Z),), tmp_path / "x.pt")


@pytest.mark.parametrize("method", ["encode", "decode", "step"])
def test_parity_finds_a_fault_in_any_of_the_three_graphs(method, tiny_models, take_cover):
    vae, memory = tiny_models
    spec = world_spec("tiny", take_cover, memory, constant_reward=1.0)
    reference, faulty = ModelBackend(spec, vae, memory), ModelBackend(spec, vae, memory)
    assert check_parity(spec, reference, {"same": faulty}) == {"same": 0.0}

    def wrong(*inputs):
        answer = getattr(reference, method)(*inputs)
        if method == "encode":
            return answer[0], answer[1] + 0.01
        return replace(answer, reward=answer.reward + 0.01) if method == "step" else answer + 0.01

    setattr(faulty, method, wrong)
    with pytest.raises(ExportError, match="faulty differs from pytorch"):
        check_parity(spec, reference, {"faulty": faulty})
