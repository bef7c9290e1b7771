"""Signals: from recorded numbers, through M, to what a served world says."""

from dataclasses import replace
from math import log

import gymnasium
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from dreamserve.local import LocalClient
from dreamserve_training import assemble, stages
from dreamserve_training.data.collect import record_episode
from dreamserve_training.data.episodes import DataError, load_episode, save_episode
from dreamserve_training.data.loaders import create_window_loader
from dreamserve_training.data.sequences import SequenceDataset
from dreamserve_training.data.signals import Signal
from dreamserve_training.defaults import resolve
from dreamserve_training.dreams.worlds import world_from_models
from dreamserve_training.models.catalog import load_memory
from dreamserve_training.models.mdnrnn import MDNRNN
from dreamserve_training.models.signals import SignalHead
from dreamserve_training.models.vae import ConvVAE
from dreamserve_training.models.world_model import LossWeights
from dreamserve_training.passes import resolve_passes
from dreamserve_training.probe import probe
from dreamserve_training.recipe import Recipe
from dreamserve_training.train.memory import train_memory
from dreamserve_training.workspace import Workspace

Z, A, R = 4, 3, 8
HEALTH = [100.0, 100.0, 80.0, 80.0, 90.0, 0.0]
HIT, LEVEL = Signal("health", "falls"), Signal("health", scale=50.0)


def memory(**options):
    torch.manual_seed(0)
    return MDNRNN(Z, A, rnn_size=R, num_mixtures=2, **options)


@pytest.mark.parametrize(
    ("form", "values"),
    [
        ("falls", [np.nan, 0, 1, 0, 0, 1]),
        ("rises", [np.nan, 0, 0, 0, 1, 0]),
        ("event", [1, 1, 1, 1, 1, 0]),
        ("level", HEALTH),
    ],
)
def test_a_signal_is_what_its_form_says_of_the_recorded_number(form, values):
    episode = {"health": np.array(HEALTH)}
    np.testing.assert_array_equal(Signal("health", form).values(episode), values)


@pytest.fixture
def latents(tmp_path):
    """Return a folder of two latent episodes with a recorded health."""
    for number in range(2):
        steps = len(HEALTH)
        episode = {
            "z": np.zeros((steps, Z), np.float32),
            "actions": np.zeros(steps, np.int64),
            "rewards": np.ones(steps, np.float32),
            "terminated": np.arange(steps) == steps - 1,
            "health": np.array(HEALTH, np.float32),
        }
        save_episode(tmp_path / f"{number}.npz", episode)
    return tmp_path


def test_windows_hold_the_signals_of_their_steps_also_across_a_windows_border(latents):
    loader = create_window_loader(latents, 4, 2, shuffle=False, signals={"hit": HIT, "hp": LEVEL})
    batch = next(iter(loader))
    hits = batch["signals"][:3, :, 0].flatten()
    torch.testing.assert_close(
        hits, torch.tensor([np.nan, 0, 1, 0, 0, 1], dtype=torch.float32), equal_nan=True
    )
    assert batch["signals"][:3, :, 1].flatten().tolist() == HEALTH


def test_numbers_that_are_missing_or_not_finite_are_refused_with_their_name(latents):
    with pytest.raises(DataError, match=r"signal 'hit' needs 'armor'.*'health'"):
        create_window_loader(latents, 4, 2, signals={"hit": Signal("armor", "falls")})
    episode = load_episode(latents / "1.npz")
    episode["health"][3] = np.nan
    save_episode(latents / "1.npz", episode)
    loader = create_window_loader(latents, 4, 2, signals={"hit": HIT})
    with pytest.raises(DataError, match=r"1\.npz: health holds NaN or infinity at step 3"):
        train_memory(memory(signals={"hit": HIT.head()}), loader, {"save_dir": str(latents)})


def test_data_without_the_signals_of_the_model_is_refused(latents):
    loader = create_window_loader(latents, 4, 2)
    with pytest.raises(DataError, match="the data has 0 signals, the model predicts 1"):
        train_memory(memory(signals={"hit": HIT.head()}), loader, {"save_dir": str(latents)})


def test_unknown_and_masked_steps_count_in_no_loss_and_the_weight_of_signals_does():
    model = memory(signals={"hit": HIT.head(), "hp": LEVEL.head()})
    batch = {
        "z": torch.randn(1, 3, Z),
        "actions": torch.zeros(1, 3, dtype=torch.long),
        "next_z": torch.zeros(1, 3, Z),
        "mask": torch.tensor([[True, True, False]]),
        "next_mask": torch.tensor([[True, True, False]]),
        "signals": torch.tensor([[[np.nan, 100.0], [1.0, np.nan], [0.0, 1.0]]]),
    }
    output = model(batch["z"], batch["actions"])
    losses = model.losses(batch, LossWeights(signal=2.0))
    logit, level = output.signals[0][0, 1], output.signals[1][0, 0]
    torch.testing.assert_close(losses["signal.hit"], -10 * torch.sigmoid(logit).log())
    torch.testing.assert_close(losses["signal.hp"], (level - 2.0) ** 2)
    parts = losses["nll"] + 2 * (losses["signal.hit"] + losses["signal.hp"])
    torch.testing.assert_close(losses["loss"], parts)
    losses["loss"].backward()
    assert all(torch.isfinite(weight.grad).all() for weight in model.signals_head.parameters())


def test_a_probability_is_the_events_share_whatever_its_weight_in_training():
    """An event that no observation foretells: M learns its rate, also with a weight of 10."""
    rng = np.random.default_rng(0)
    hits = (rng.random((40, 50)) < 0.1).astype(np.float32)
    length = hits.shape[1]
    data = SequenceDataset(
        [np.zeros((length, Z))] * 40,
        [np.zeros(length, int)] * 40,
        signals=[np.stack([row, 30 * row], axis=1) for row in hits],
    )
    model = memory(signals={"hit": HIT.head(), "pain": Signal("pain", scale=10.0).head()})
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    batch = next(iter(DataLoader(data, batch_size=40)))
    for _ in range(150):
        optimizer.zero_grad()
        model.losses(batch, LossWeights())["loss"].backward()
        optimizer.step()
    output = model(batch["z"], batch["actions"])
    shown = [
        head.shown(part).mean().item()
        for head, part in zip(model.signals.values(), output.signals, strict=True)
    ]
    assert shown == pytest.approx([hits.mean(), 30 * hits.mean()], rel=0.1)


def test_the_same_logit_means_less_the_more_its_event_weighed():
    logit = torch.tensor([0.0])
    assert SignalHead("event", "", positive=1.0).shown(logit).item() == 0.5
    assert SignalHead("event", "", positive=3.0).shown(logit).item() == pytest.approx(0.25)


def test_a_checkpoint_keeps_the_signals(latents):
    model = memory(signals={"hit": HIT.head()})
    loader = create_window_loader(latents, 4, 2, signals={"hit": HIT})
    options = {"save_dir": str(latents / "m"), "epochs": 1, "mixed_precision": False}
    again = load_memory(train_memory(model, loader, options).path)
    assert again.signals == {"hit": HIT.head()}


def test_a_world_says_its_signals_by_name():
    model = memory(predict_done=True, signals={"hit": HIT.head(), "hp": LEVEL.head()})
    world = world_from_models(ConvVAE(Z), model.eval())
    assert [(s.name, s.description) for s in world.spec.signals] == [
        ("hit", "probability that health falls in the step"),
        ("hp", "health after the step"),
    ]
    dream = LocalClient(world)
    session = dream.reset(seed=1).session_id
    step = dream.step(session_id=session, action=2, include=["signals", "state"])
    h = torch.from_numpy(np.asarray(step.state["h"], np.float32)).reshape(1, R)
    logit, level = model.signals_head(h)[0]
    assert step.signals["hit"] == pytest.approx(torch.sigmoid(logit - log(10)).item(), rel=1e-4)
    assert step.signals["hp"] == pytest.approx(50 * level.item(), rel=1e-4)


class Hurt(gymnasium.Env):
    """One number; each step may hurt, and the third hurt ends it."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.health = 3
        return self._seen(), {}

    def step(self, action):
        self.health -= int(self.np_random.random() < 0.2)
        return self._seen(), 1.0, self.health <= 0, False, {}

    def _seen(self):
        return self.np_random.uniform(-1, 1, 1).astype(np.float32)


def health_of(env, observation):
    return {"health": env.unwrapped.health}


RECIPE = Recipe(
    name="hurt",
    env=Hurt,
    record=health_of,
    signals={"hit": HIT},
    done_rule="drawn",
    max_episode_steps=40,
    collect={"episodes": 6, "workers": 1},
    memory_options={"rnn_size": 8, "num_mixtures": 2},
    train={"epochs": 2, "mixed_precision": False, "carry_state": True},
    batch_size=4,
    sequence_length=8,
    controller={"generations": 1, "population": 4, "episodes": 1, "max_steps": 5},
    evaluate={"episodes": 2, "dream_temperatures": (1.0,), "plan_episodes": 0, "workers": 1},
    constant_reward=1.0,
    bank_size=4,
)


def test_a_recipe_goes_from_recorded_numbers_to_a_world_that_says_and_draws(tmp_path, monkeypatch):
    made, workspace = {}, Workspace(tmp_path, "mdnrnn")
    recipe = resolve(RECIPE, probe(RECIPE))
    for split, seeds in (("train", range(6)), ("holdout", range(6, 10))):
        workspace.episodes(split).mkdir(parents=True)
        for seed in seeds:
            episode = record_episode(recipe.env.open(), recipe.collect, seed)
            save_episode(workspace.episodes(split) / f"{seed}.npz", episode)
    for stage in (stages.vae, stages.encode, stages.memory):
        stage(recipe, workspace)
    monkeypatch.setattr(assemble, "export_world", lambda out, **parts: made.update(parts))
    assemble.write_draft(recipe, workspace)
    assert made["spec"].done.rule == "drawn"
    assert [signal.name for signal in made["spec"].signals] == ["hit"]
    trained = load_memory(workspace.memory_model)
    z, action, state = torch.zeros(1, 1), torch.zeros(1, dtype=torch.long), torch.zeros(1, 8)
    before, served = (m.predict(z, action, (state, state)) for m in (trained, made["memory"]))
    undone = torch.sigmoid(before.done_logit - log(10)).item()
    assert torch.sigmoid(served.done_logit).item() == pytest.approx(undone, rel=5e-3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"signals": {"hit": "health"}}, "signals must be an instance of Signal, not"),
        ({"signals": {"Hit!": HIT}}, r"signals: 'Hit!': .*match pattern"),
        ({"done_threshold": 0.0}, "done_threshold only with done_rule='threshold'"),
        ({"done_rule": "tossed"}, "done_rule must be 'threshold' or 'drawn', not 'tossed'"),
        ({"train": {"done_pos_weight": 0.0}}, "done_pos_weight must be above 0"),
    ],
)
def test_what_m_cannot_predict_is_refused_before_anything_is_collected(change, says):
    with pytest.raises(ValueError, match=says):
        resolve_passes(replace(RECIPE, **change), probe(RECIPE))


def test_a_signal_of_a_number_that_is_not_recorded_is_refused_when_the_recipe_starts():
    with pytest.raises(DataError, match=r"signal 'hit' needs 'health'.*`record`"):
        probe(replace(RECIPE, record=None))
