"""DreamVectorEnv keeps Gymnasium's promises in all three autoreset modes."""

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import dreamserve_client as sdk
import dreamserve_client.envs as envs
from dreamserve.backends.fake import SPACES
from dreamserve.engine.fake import fake_world
from dreamserve.local import LocalClient

MODES = list(AutoresetMode)
STEPS = 4  # of a dream, at most


@pytest.mark.parametrize("mode", MODES)
def test_its_attributes_are_those_of_a_vector_environment(mode):
    env = gymnasium.make_vec(
        envs.ENV_ID, num_envs=3, bundle=fake_world(), autoreset_mode=mode, max_episode_steps=STEPS
    )
    assert isinstance(env, envs.DreamVectorEnv)
    assert (env.num_envs, env.spec.id, env.spec.kwargs["num_envs"]) == (3, envs.ENV_ID, 3)
    assert env.metadata["autoreset_mode"] is mode
    assert env.metadata["render_modes"] == ["rgb_array"]
    assert env.metadata["render_fps"] > 0
    assert env.single_action_space == gymnasium.spaces.Discrete(3)
    assert env.action_space == gymnasium.spaces.MultiDiscrete([3, 3, 3])
    assert env.single_observation_space.shape == (4,)
    assert env.observation_space.shape == (3, 4)
    observations, _ = env.reset(seed=1)
    assert observations in env.observation_space
    stepped, rewards, terminated, truncated, _ = env.step(env.action_space.sample())
    assert stepped in env.observation_space
    kinds = [(one.dtype.kind, one.shape) for one in (rewards, terminated, truncated)]
    assert kinds == [("f", (3,)), ("b", (3,)), ("b", (3,))]
    env.close()
    env.close()
    assert env.closed


def test_it_may_be_made_by_the_synchronous_vectoriser_too():
    env = gymnasium.make_vec(
        envs.ENV_ID, num_envs=2, vectorization_mode="sync", bundle=fake_world()
    )
    ours = envs.DreamVectorEnv(bundle=fake_world(), num_envs=2)
    np.testing.assert_array_equal(env.reset(seed=5)[0], ours.reset(seed=5)[0])
    for action in ([1, 2], [0, 2]):
        theirs, mine = env.step(np.array(action)), ours.step(np.array(action))
        np.testing.assert_array_equal(theirs[0], mine[0])
        np.testing.assert_array_equal(theirs[1], mine[1])
    env.close()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("observation", ["latent", "frame", "latent+memory"])
def test_every_dream_is_that_of_a_single_environment(make, actions, mode, observation):
    many = make.many(
        autoreset_mode=mode,
        observation=observation,
        max_episode_steps=STEPS,
        render_mode="rgb_array",
    )
    rows = [
        make.one(observation=observation, max_episode_steps=STEPS, render_mode="rgb_array")
        for _ in range(3)
    ]
    observations, infos = many.reset(seed=7)
    assert infos["seed"].tolist() == [7, 8, 9]
    for row, env in enumerate(rows):
        np.testing.assert_array_equal(observations[row], env.reset(seed=7 + row)[0])
    ended, ends = [False] * 3, 0
    for taken in actions:
        if mode is AutoresetMode.DISABLED and any(ended):
            fresh, infos = many.reset(seed=ends, options={"reset_mask": np.array(ended)})
            for row in np.flatnonzero(ended):
                begun, _ = rows[row].reset(seed=int(infos["seed"][row]))
                np.testing.assert_array_equal(fresh[row], begun)
                ended[row] = False
        observations, rewards, terminated, truncated, infos = many.step(taken)
        pictures = many.render()
        for row, env in enumerate(rows):
            if ended[row]:  # the step that begins the next dream
                begun, _ = env.reset(seed=int(infos["seed"][row]))
                expected = (begun, 0.0, False, False)
                assert infos["_seed"][row]
            else:
                *expected, _ = env.step(taken[row])
            over = expected[2] or expected[3]
            if over and mode is AutoresetMode.SAME_STEP:
                assert infos["_final_obs"][row]
                np.testing.assert_array_equal(infos["final_obs"][row], expected[0])
                expected[0], _ = env.reset(seed=int(infos["seed"][row]))
            np.testing.assert_array_equal(observations[row], expected[0])
            assert (rewards[row], terminated[row], truncated[row]) == tuple(expected[1:])
            np.testing.assert_array_equal(pictures[row], env.render())
            ends += over
            ended[row] = over and mode is not AutoresetMode.SAME_STEP
    assert ends > 15


@pytest.mark.parametrize("mode", MODES)
def test_both_kinds_of_end_come_by(make, actions, mode):
    many = make.many(autoreset_mode=mode, max_episode_steps=7)
    many.reset(seed=2)
    seen = set()
    for taken in actions:
        *_, terminated, truncated, _ = many.step(taken)
        seen |= set(zip(terminated.tolist(), truncated.tolist(), strict=True))
        if mode is AutoresetMode.DISABLED and (over := terminated | truncated).any():
            many.reset(options={"reset_mask": over})
    assert {(True, False), (False, True), (False, False)} <= seen


def test_in_next_step_the_actions_of_new_dreams_are_ignored(make):
    def run(replaced):
        many = make.many(2, max_episode_steps=2)
        many.reset(seed=1)
        taken = [many.step(np.array([1, 1])) for _ in range(2)]
        taken += [many.step(np.array([replaced, replaced])), many.step(np.array([2, 0]))]
        return [one[0] for one in taken]

    np.testing.assert_array_equal(run(0), run(2))


def test_rows_that_go_on_are_unchanged_by_a_reset_of_others(make):
    many, whole = make.many(autoreset_mode="Disabled"), make.many(autoreset_mode="Disabled")
    for env in (many, whole):
        env.reset(seed=1)
        before = env.step(np.array([1, 2, 0]))[0]
    mask = np.array([False, True, False])
    options = {"reset_mask": mask, "temperature": 0.5}
    after, infos = many.reset(seed=[0, 40, 0], options=options)
    assert options["reset_mask"] is mask
    np.testing.assert_array_equal(after[~mask], before[~mask])
    np.testing.assert_array_equal(after[1], make.one(temperature=0.5).reset(seed=40)[0])
    assert infos["_seed"].tolist() == mask.tolist()
    assert (infos["seed"][1], infos["temperature"][1]) == (40, 0.5)
    expected, now = whole.step(np.array([0, 0, 0]))[0], many.step(np.array([0, 0, 0]))[0]
    np.testing.assert_array_equal(now[~mask], expected[~mask])


def test_in_disabled_a_step_of_an_ended_dream_is_refused(make):
    many = make.many(autoreset_mode="Disabled", max_episode_steps=1)
    many.reset(seed=1)
    many.step(np.ones(3, int))
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"rows \[0, 1, 2\]"):
        many.step(np.ones(3, int))


@pytest.mark.parametrize(
    "mask", [[True] * 3, np.array([1, 0, 0]), np.zeros(3, bool), np.ones(2, bool)], ids=repr
)
def test_a_reset_mask_is_an_array_of_bools_with_one_true(make, mask):
    many = make.many()
    many.reset(seed=1)
    valid = isinstance(mask, list)
    if valid:
        many.reset(options={"reset_mask": mask})
    else:
        with pytest.raises(ValueError, match="reset_mask must be a bool array"):
            many.reset(options={"reset_mask": mask})


def test_seeds_are_one_a_list_or_drawn_and_make_all_reproducible(make):
    def seeds(env, seed):
        return [env.reset(seed=seed)[1]["seed"].tolist(), env.reset()[1]["seed"].tolist()]

    first = seeds(make.many(), 5)
    assert first[0] == [5, 6, 7]
    assert first == seeds(make.many(), 5)
    listed = seeds(make.many(), [9, 3, 2])
    assert listed[0] == [9, 3, 2]
    assert listed == seeds(make.many(), [9, 3, 2])
    assert listed[1] != first[1]
    some = seeds(make.many(), [9, None, 2])[0]
    assert (some[0], some[2]) == (9, 2)
    drawn, other = (make.many().reset()[1]["seed"].tolist() for _ in range(2))
    assert drawn != other
    with pytest.raises(ValueError, match="there must be 3 seeds, not 2"):
        make.many().reset(seed=[1, 2])


def test_the_action_space_is_seeded_like_any_other(make):
    drawn = []
    for env in (make.many(), make.many()):
        env.action_space.seed(4)
        drawn.append([env.action_space.sample().tolist() for _ in range(5)])
    assert drawn[0] == drawn[1]


def test_options_are_for_all_rows_or_for_each(make):
    many = make.many(temperature=0)
    one, _ = many.reset(seed=1, options={"bank": 3, "temperature": 0.5})
    alone = make.one(temperature=0.5).reset(seed=1, options={"bank": 3})[0]
    np.testing.assert_array_equal(one[0], alone)
    latents = np.arange(12, dtype=np.float32).reshape(3, 4) / 20
    np.testing.assert_array_equal(many.reset(options={"latents": latents})[0], latents)
    old = many.reset(seed=1, options={"age": "any"})[0]
    for seed, row in enumerate(old, 1):
        np.testing.assert_array_equal(row, make.one().reset(seed=seed, options={"age": "any"})[0])
    same, infos = many.reset(options={"latents": latents[0], "temperature": [0, 1, 2]})
    np.testing.assert_array_equal(same, [latents[0]] * 3)
    assert infos["temperature"].tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="bank must be one, or one for each of 3 rows"):
        many.reset(options={"bank": [1, 2]})
    with pytest.raises(sdk.ConfigurationError, match=r"unknown reset options \['start'\]"):
        many.reset(options={"start": 3})


@pytest.mark.parametrize("mode", MODES)
def test_of_a_reset_that_fails_in_a_row_the_other_rows_go_on_as_new_dreams(make, mode):
    many = make.many(autoreset_mode=mode, max_episode_steps=STEPS, render_mode="rgb_array")
    many.reset(seed=1)
    for _ in range(STEPS):
        before = many.step([1, 1, 1])[0]
    with pytest.raises(sdk.InvalidRequestError, match="row 1"):
        many.reset(seed=7, options={"bank": [2, 10**6, 3], "temperature": 0.5})
    alone = [make.one(temperature=0.5, render_mode="rgb_array") for _ in range(3)]
    firsts = [
        one.reset(seed=7 + row, options={"bank": bank})[0]
        for row, (one, bank) in enumerate(zip(alone, (2, 0, 3), strict=True))
    ]
    mask = np.array([False, True, False])
    options = {"reset_mask": mask, "bank": 0, "temperature": 0.5}
    observations, _ = many.reset(seed=7, options=options)
    np.testing.assert_array_equal(observations, firsts)
    assert not np.array_equal(observations[1], before[1])
    expected = [one.step(2)[0] for one in alone]
    np.testing.assert_array_equal(many.step([2, 2, 2])[0], expected)
    for picture, one in zip(many.render(), alone, strict=True):
        np.testing.assert_array_equal(picture, one.render())


def test_a_row_whose_reset_failed_shows_what_it_did_before(make):
    many = make.many(render_mode="rgb_array", observation="latent+memory")
    before, _ = many.reset(seed=1)
    pictures = many.render()
    with pytest.raises(sdk.InvalidRequestError, match="row 1"):
        many.reset(seed=7, options={"bank": [2, 10**6, 3]})
    mask = np.array([True, False, False])
    observations, _ = many.reset(options={"reset_mask": mask})
    np.testing.assert_array_equal(observations[1], before[1])
    np.testing.assert_array_equal(many.render()[1], pictures[1])


@pytest.mark.parametrize("options", [{"temperature": -1}, {"bank": 10**6}, {"age": -1}])
def test_what_one_reset_refused_is_not_asked_of_the_next(make, options):
    for env in (make.many(temperature=0.5), make.one(temperature=0.5)):
        for _ in range(2):
            with pytest.raises(sdk.InvalidRequestError):
                env.reset(seed=1, options=options)
        _, infos = env.reset(seed=1)
        np.testing.assert_array_equal(infos["temperature"], 0.5)
        with pytest.raises(sdk.InvalidRequestError):
            env.reset(options=options)
        _, infos = env.reset()
        np.testing.assert_array_equal(infos["temperature"], 0.5)


def test_observations_belong_to_the_caller(make):
    many = make.many(autoreset_mode="Disabled")
    observations, _ = many.reset(seed=1)
    kept = observations.copy()
    observations[:] = 9
    again, _ = many.reset(options={"reset_mask": np.array([True, False, False])})
    np.testing.assert_array_equal(again[1:], kept[1:])


def test_a_wrong_action_raises_and_the_step_can_be_taken_again(make):
    many, other = make.many(), make.many()
    for env in (many, other):
        env.reset(seed=1)
    with pytest.raises(sdk.InvalidActionError, match="row 1"):
        many.step(np.array([1, 7, 2]))
    expected = other.step(np.array([1, 0, 2]))
    np.testing.assert_array_equal(many.step(np.array([1, 0, 2]))[0], expected[0])


@pytest.mark.parametrize(
    "actions",
    [
        [True, False, True],
        [True, 2, 1],
        (1, np.True_, 0),
        np.array([True, False, True]),
        [np.array(True), 1, 0],
    ],
)
def test_bools_are_no_actions_not_even_among_numbers(make, actions):
    many = make.many()
    many.reset(seed=1)
    with pytest.raises(sdk.InvalidActionError, match="actions: must hold numbers, not bool"):
        many.step(actions)
    assert many.step([1, 2, 0])[1].shape == (3,)


@pytest.mark.parametrize("actions", [[[True, 0.5]] * 2, np.ones((2, 2), bool)])
def test_bools_are_no_continuous_actions_either(make, actions):
    many = make.many(2, fake_world(discrete=False))
    many.reset(seed=1)
    with pytest.raises(sdk.InvalidActionError, match="actions: must hold numbers, not bool"):
        many.step(actions)


@pytest.mark.parametrize("options", [{"temperature": [True, 1, 1]}, {"bank": [0, True, 1]}])
def test_bools_are_no_reset_options(make, options):
    with pytest.raises(sdk.InvalidRequestError, match="must hold numbers, not bool"):
        make.many().reset(options=options)


def test_step_and_render_want_a_reset_before(make):
    many = make.many(render_mode="rgb_array")
    calls = (
        lambda: many.step(np.ones(3, int)),
        many.render,
        lambda: many.reset(options={"reset_mask": np.ones(3, bool)}),
    )
    for call in calls:
        with pytest.raises(gymnasium.error.ResetNeeded):
            call()
    assert make.many().render() is None
    many.reset()
    for wrong, shape in ((np.ones(2, int), r"\(2,\)"), (5, r"\(\)"), (None, r"\(\)")):
        with pytest.raises(ValueError, match=f"for each of 3 dreams, not of shape {shape}"):
            many.step(wrong)


@pytest.mark.parametrize("options", [{"num_envs": 0}, {"num_envs": -1}])
def test_there_is_at_least_one_dream(make, options):
    with pytest.raises(sdk.ConfigurationError, match="num_envs must be at least 1"):
        make.many(**options)


@pytest.mark.parametrize("space", SPACES)
def test_actions_of_every_space_are_columns(make, space):
    world = fake_world(space=SPACES[space])
    many, alone = make.many(2, world), [make.one(world) for _ in range(2)]
    many.reset(seed=3)
    many.action_space.seed(3)
    for env, seed in zip(alone, (3, 4), strict=True):
        env.reset(seed=seed)
    actions = many.action_space.sample()
    expected = [env.step(action)[0] for env, action in zip(alone, actions, strict=True)]
    np.testing.assert_array_equal(many.step(actions)[0], expected)


def test_first_dreams_that_fail_in_part_leave_no_sessions():
    local = LocalClient(fake_world(), capacity=4)
    client = sdk.DreamClient(transport=sdk.InProcess(local))
    many = envs.DreamVectorEnv(client=client, num_envs=6)
    with pytest.raises(sdk.OverloadedError, match="row 4"):
        many.reset(seed=1)
    assert local.engine.session_count == 0


@pytest.mark.parametrize("kind", ["one", "many"])
def test_an_environment_closes_though_its_server_is_gone(make, monkeypatch, kind):
    env = getattr(make, kind)()
    env.reset(seed=1)

    def lost(*_):
        raise sdk.APIConnectionError("no response")

    monkeypatch.setattr(env._client._transport, "send", lost)
    env.close()
    env.close()


def test_closing_ends_the_sessions_and_leaves_your_client_open():
    client = sdk.DreamClient(transport=sdk.InProcess(fake_world()))
    many = envs.DreamVectorEnv(client=client, num_envs=2)
    many.reset(seed=1)
    ids = many._dreams.session_ids
    assert client.session(ids[1]).seed == 2
    many.close()
    with pytest.raises(sdk.SessionNotFoundError):
        client.session(ids[1])
    envs.DreamVectorEnv(client=client, num_envs=2).close()


def test_a_closed_environment_begins_no_dreams():
    with sdk.DreamClient(transport=sdk.InProcess(fake_world())) as client:
        env = envs.DreamVectorEnv(client=client, num_envs=2)
        env.reset(seed=1)
        env.close()
        with pytest.raises(sdk.ClosedError, match="the environment is closed"):
            env.reset(seed=1)
        assert client.sessions().total == 0


@pytest.mark.parametrize("seed", [2**63, 2**64, [1, 2**63, None]])
def test_seeds_that_are_too_large_are_refused(make, seed):
    with pytest.raises(sdk.InvalidRequestError, match="seed must be within 0 and 9007199254740991"):
        make.many().reset(seed=seed)


def test_options_that_are_none_are_left_out(make):
    env = make.many(temperature=0.5)
    _, infos = env.reset(seed=1, options={"temperature": None, "bank": None, "reset_mask": None})
    assert infos["temperature"].tolist() == [0.5] * 3
