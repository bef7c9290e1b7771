"""The parts of PPO: distributions over actions, advantages, where dreams begin, what they earn."""

from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.training.option_tables import documented

from dreamserve.spaces import BoxSpace, DiscreteSpace, MultiBinarySpace, MultiDiscreteSpace
from dreamserve_training.train.ppo.advantages import advantages
from dreamserve_training.train.ppo.config import (
    Features,
    FinetuneConfig,
    LearningConfig,
    PPOConfig,
    check_reward,
)
from dreamserve_training.train.ppo.distributions import distribution_of
from dreamserve_training.train.ppo.dreams import Dreams

SPACES = [
    DiscreteSpace(n=3, names=("a", "b", "c")),
    MultiDiscreteSpace(nvec=(2, 3, 2), names=("a", "b", "c")),
    MultiBinarySpace(n=2, names=("a", "b")),
]
SCORES = np.random.default_rng(0).normal(size=7).astype(np.float32)


def drawn_by(distribution, scores):
    generator = torch.Generator().manual_seed(1)
    return (part.numpy() for part in distribution.draw(torch.from_numpy(scores), generator))


def experience_of(dreams):
    """Return the arrays of an experience under a policy of equal scores."""

    def equal(inputs):
        return torch.zeros(len(inputs), 3)

    rng = np.random.default_rng(0)
    dreams.begin(rng)
    seen = dreams.run(equal, distribution_of(dreams.world.spec.action_space, 0.5), rng)
    return SimpleNamespace(**{name: part.numpy() for name, part in vars(seen).items()})


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.type)
def test_choices_are_drawn_as_often_as_their_probabilities_say(space):
    chosen = distribution_of(space, 0.5)
    scores = np.tile(SCORES[: space.width], (20_000, 1))
    drawn, actions = drawn_by(chosen, scores)
    space.check(actions, (len(scores),))
    different, first, counts = np.unique(drawn, axis=0, return_index=True, return_counts=True)
    logs = chosen.log_prob(torch.from_numpy(scores), torch.from_numpy(drawn)).numpy()[first]
    np.testing.assert_allclose(counts / len(scores), np.exp(logs), atol=0.015)
    assert len(different) == np.prod(space.choice_counts)
    assert np.exp(logs).sum() == pytest.approx(1, abs=1e-5)
    entropy = chosen.entropy(torch.from_numpy(scores[:1]))
    assert float(entropy) == pytest.approx(-(np.exp(logs) * logs).sum(), abs=1e-5)
    likeliest = space.from_scores(scores[:1], np.ones(1, bool))
    np.testing.assert_array_equal(drawn[first[logs.argmax()]], likeliest.reshape(-1))


def test_numbers_of_a_box_are_drawn_around_the_scores_and_stay_within_the_bounds():
    space = BoxSpace(low=(-2.0, 0.0), high=(2.0, 10.0), names=("a", "b"))
    chosen = distribution_of(space, 0.25)
    scores = np.tile(SCORES[:2], (20_000, 1))
    drawn, actions = drawn_by(chosen, scores)
    space.check(actions, (len(scores),))
    np.testing.assert_allclose(drawn.mean(axis=0), SCORES[:2], atol=0.01)
    np.testing.assert_allclose(drawn.std(axis=0), 0.25, atol=0.01)
    normal = torch.distributions.Normal(torch.from_numpy(scores), 0.25)
    expected = normal.log_prob(torch.from_numpy(drawn)).sum(dim=1)
    logs = chosen.log_prob(torch.from_numpy(scores), torch.from_numpy(drawn))
    torch.testing.assert_close(logs, expected)
    entropy = chosen.entropy(torch.from_numpy(scores))
    torch.testing.assert_close(entropy, normal.entropy().sum(dim=1))
    np.testing.assert_array_equal(actions, space.from_scores(drawn, np.ones(len(drawn), bool)))


def test_an_advantage_is_the_weighted_mean_of_what_follows_up_to_a_cut():
    rng = np.random.default_rng(0)
    rewards, values, following = rng.normal(size=(3, 3, 2)).astype(np.float32)
    ends = np.array([[0.5, 0], [0, 0], [0, 1]], np.float32)
    cut = np.array([[False, True], [False, False], [False, False]])
    steps = map(torch.from_numpy, (rewards, ends, cut, values, following))
    gains = advantages(*steps, 0.9, 0.8).numpy()
    errors = rewards + 0.9 * (1 - ends) * following - values
    expected = errors.copy()
    expected[0, 0] += 0.8 * 0.9 * 0.5 * (errors[1, 0] + 0.8 * 0.9 * errors[2, 0])
    expected[1] += 0.8 * 0.9 * errors[2]
    np.testing.assert_allclose(gains, expected, rtol=1e-5)
    assert gains[0, 1] == errors[0, 1], "the advantage of a cut step knows of the next dream"


def test_dreams_begin_at_beginnings_and_at_late_moments_as_often_as_is_asked(matching):
    world = matching("Discrete")  # its 60 entries are 0 to 59 steps old
    for beginnings, late, expected in ((1.0, 0.0, 8), (0.0, 0.0, 29.5), (0.5, 2.0, 26.3)):
        config = PPOConfig(dreams=4000, steps=1, beginnings=beginnings, late=late)
        dreams = Dreams(world, Features.of(world.spec, config), config)
        dreams.begin(np.random.default_rng(0))
        distance = np.abs(dreams.latent.numpy()[:, None] - world.bank["mu"]).sum(axis=2)
        ages = world.ages[distance.argmin(axis=1)]
        assert ages.mean() == pytest.approx(expected, abs=1)
        assert np.ptp(dreams.age.numpy()) > 150, "all dreams will be cut at once"


def test_a_dream_that_ends_or_is_long_enough_is_followed_by_another(matching):
    world = matching("Discrete")
    config = PPOConfig(dreams=50, steps=30, dream_steps=10, reward={"world": 1.0, "end": -2.0})
    dreams = Dreams(world, Features.of(world.spec, config), config)
    seen = experience_of(dreams)
    assert seen.cut.sum() == len(seen.finals)
    goes_on = ~seen.cut[:, :, None].repeat(2, axis=2)
    moved = np.abs(seen.features[1:] - seen.features[:-1]) > 0
    assert (moved | ~goes_on).all(), "a dream stands still"
    wrong = seen.ends > 0.1
    np.testing.assert_allclose(seen.rewards, np.where(wrong, -2 * seen.ends, 1), atol=1e-6)
    assert seen.ends[wrong] == pytest.approx(0.2)
    ages = np.zeros(50)
    for t in range(30):
        ages += 1
        assert (seen.cut[t] | (ages < 10)).all()
        ages[seen.cut[t]] = 0
    assert 0.1 < seen.cut[wrong].mean() < 0.45, "ends are not drawn by their probability"


def test_a_dream_ends_where_enough_steps_in_a_row_earn_nothing(matching):
    world = matching("Discrete")
    config = PPOConfig(dreams=50, steps=30, idle_steps=2)
    seen = experience_of(Dreams(world, Features.of(world.spec, config), config))
    idle, lost = np.zeros(50), 0
    for rewards, ends, cut in zip(seen.rewards, seen.ends, seen.cut, strict=True):
        idle = np.where(rewards > 0, 0, idle + 1)
        is_lost = idle >= 2
        np.testing.assert_array_equal(ends == 1, is_lost)
        assert cut[is_lost].all()
        idle[cut], lost = 0, lost + is_lost.sum()
    assert lost > 50


def test_the_weight_of_positives_is_taken_out_of_the_probability_of_an_end(matching):
    world = matching("Discrete")
    config = PPOConfig(dreams=50, steps=5, done_weight=10.0)
    dreams = Dreams(world, Features.of(world.spec, config), config)
    ends = experience_of(dreams).ends
    assert ends.max() == pytest.approx(0.025 / 1.025, rel=1e-4)  # odds of 1/4, divided by 10


def test_what_a_world_does_not_have_is_an_error_that_says_what_it_has(matching):
    spec = matching("Discrete").spec
    with pytest.raises(ValueError, match=r"has no \['health'\], only \['world', 'end', 'hit'\]"):
        check_reward(spec, {"health": 1.0})
    with pytest.raises(ValueError, match=r"inputs \['h'\]: must be some of latent"):
        Features.of(spec, PPOConfig(inputs=("h",)))
    with pytest.raises(ValueError, match="the lowest, then the highest"):
        PPOConfig(temperatures=(1.3, 1.0))
    with pytest.raises(ValueError, match="at least one part"):
        PPOConfig(reward={})


def test_the_documented_options_have_the_documented_defaults():
    config = PPOConfig()
    expected = {item.name: str(getattr(config, item.name)) for item in fields(config)}
    assert documented("training.md", "A controller by policy gradient") == expected


def test_the_documented_options_of_real_experience_have_the_documented_defaults():
    config, shared = FinetuneConfig(), LearningConfig()
    table = documented("training.md", "A little real experience")
    assert table.pop("workers") == "one for each core"
    own = {
        item.name: str(getattr(config, item.name))
        for item in fields(config)
        if getattr(config, item.name) != getattr(shared, item.name, "none of theirs")
    }
    del own["workers"]
    assert table == own
