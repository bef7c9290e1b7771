"""Data of other projects becomes episodes, or is refused with what would be right."""

import numpy as np
import pytest
from typer.testing import CliRunner

from dreamserve.observations import Crop, FrameSpec, VectorSpec
from dreamserve_training.cli import app
from dreamserve_training.data.description import read_description
from dreamserve_training.data.disk import Data, place_episodes
from dreamserve_training.data.episodes import DataError, episode_paths, load_episode
from dreamserve_training.data.gym_spaces import parse_space
from dreamserve_training.data.sources.flat import part_of
from dreamserve_training.data.sources.importing import import_dataset
from dreamserve_training.tools.dataset_utils import validate_dataset

T = 5


def arrays(observations=None, **changed):
    """Return a folder's file in Gymnasium's names, with T + 1 observations."""
    if observations is None:
        observations = np.arange((T + 1) * 4, dtype=np.float64).reshape(T + 1, 4)
    return {
        "observations": observations,
        "actions": np.arange(T) % 2,
        "rewards": np.ones(T),
        "terminations": np.arange(T) == T - 1,
        "truncations": np.zeros(T, bool),
    } | changed


def folder(path, *files):
    path.mkdir()
    for number, file in enumerate(files):
        held = {name: array for name, array in file.items() if array is not None}
        np.savez(path / f"{number}.npz", **held)
    return path


def imported(tmp_path, *files, **options):
    import_dataset(str(folder(tmp_path / "source", *files)), tmp_path / "out", **options)
    return [load_episode(path) for path in episode_paths(tmp_path / "out")]


def test_an_episode_with_one_observation_more_loses_the_last(tmp_path):
    (episode,) = imported(tmp_path, arrays())
    assert np.array_equal(episode["vectors"], arrays()["observations"][:-1])
    assert {name: array.dtype.name for name, array in episode.items()} == {
        "vectors": "float32",
        "actions": "int64",
        "rewards": "float32",
        "terminated": "bool",
    }
    assert episode["terminated"].tolist() == [False] * 4 + [True]
    assert validate_dataset(tmp_path / "out").passed


def test_a_truncated_episode_did_not_terminate(tmp_path):
    cut = {"terminations": np.zeros(T), "truncations": np.arange(T) == T - 1}
    (episode,) = imported(tmp_path, arrays(**cut))
    assert not episode["terminated"].any()


PICTURES = np.random.default_rng(0).integers(0, 256, (T, 6, 7, 3), dtype=np.uint8)
FRAMES = {
    "uint8": (PICTURES, PICTURES),
    "one more": (np.concatenate([PICTURES, PICTURES[:1]]), PICTURES),
    "floats in [0, 1]": ((PICTURES / 255).astype(np.float32), PICTURES),
    "integers": (PICTURES.astype(np.int64), PICTURES),
    "gray": (PICTURES[..., 0], PICTURES[..., :1]),
    "channels first": (np.moveaxis(PICTURES, 3, 1), PICTURES),
}


@pytest.mark.parametrize("form", FRAMES)
def test_frames_in_the_forms_of_other_projects_are_understood(tmp_path, form):
    given, expected = FRAMES[form]
    (episode,) = imported(tmp_path, arrays(given))
    assert np.array_equal(episode["frames"], expected)
    described = read_description(tmp_path / "out")
    assert described.observation_kind == "frames"
    assert described.observation_shape == expected.shape[1:]


REFUSED = {
    "bright floats": (arrays(PICTURES.astype(np.float32)), "frames must be within 0 and 1"),
    "nine channels": (arrays(np.zeros((T, 6, 7, 9), np.uint8)), "up to 4 channels"),
    "classes": (arrays(np.arange(T + 1)), "one-hot"),
    "NaN": (arrays(np.full((T, 2), np.nan)), "vectors holds NaN or infinity at step 0"),
    "dones": (arrays(terminations=None, dones=np.zeros(T)), "dones mix ends with time limits"),
    "Dreamer's": (arrays(actions=None, action=np.zeros(T)), "`action` may be the one before"),
    "both": (arrays(terminals=np.zeros(T)), "terminations and terminals; remove all but one"),
    "lengths": (arrays(actions=np.zeros(T + 2, int)), "T actions need T rewards"),
    "an end of NaN": (arrays(terminations=np.full(T, np.nan)), "terminations is nan at step 0"),
    "a class beyond int64": (arrays(actions=np.full(T, 2**64 - 1, np.uint64)), "scale them"),
    "a million classes": (arrays(actions=np.arange(T) * 250_000), "at most 4096"),
    "a reward beyond float32": (arrays(rewards=np.full(T, 1e300)), r"1e\+300 at step 0"),
    "a vector beyond float32": (arrays(np.full((T, 2), -1e300)), r"-1e\+300 at step 0"),
    "one reward for all steps": (arrays(rewards=np.float32(1)), r"rewards: one number, not"),
    "no numbers": (arrays(np.zeros((T, 0))), "vectors of 0 numbers; a world takes 1 to 1024"),
    "too many numbers": (arrays(np.zeros((T, 2000))), "vectors of 2000 numbers"),
    "no pixels": (arrays(np.zeros((T, 0, 7, 3), np.uint8)), "no frames"),
    "objects": (arrays(np.array([{}] * T)), "Object arrays cannot be loaded"),
    "negative classes": (arrays(actions=np.arange(T) - 1), "count from 0"),
    "other kind": (arrays(PICTURES), "observations and actions are .* before"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_is_not_understood_is_refused_by_file_and_leaves_nothing(tmp_path, fault):
    bad, message = REFUSED[fault]
    with pytest.raises(DataError, match=message) as raised:
        imported(tmp_path, arrays(), bad)
    assert "1.npz" in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_choices_that_are_stored_as_floats_are_refused_with_what_would_be_right(tmp_path):
    space = parse_space("Discrete(2)")
    with pytest.raises(DataError, match=r"must be integers.*store choices as integers"):
        imported(tmp_path, arrays(actions=np.arange(T) % 2 * 1.0), action_space=space)


@pytest.mark.parametrize("text", ["Discrete(99999999999)", "Box(0:1*99999999)"])
def test_spaces_of_more_actions_than_a_world_has_are_refused_at_once(text):
    with pytest.raises(DataError, match="at most 4096"):
        parse_space(text)


def test_many_episodes_in_one_file_are_cut_at_ends_and_time_limits(tmp_path):
    ends = {"terminals": np.array([0, 1, 0, 0, 0]), "timeouts": np.array([0, 0, 0, 1, 0])}
    flat = arrays(terminations=None, truncations=None, **ends)
    flat["observations"] = flat["observations"][:-1]
    episodes = imported(tmp_path, flat)
    assert [len(episode["actions"]) for episode in episodes] == [2, 2, 1]
    assert [bool(episode["terminated"][-1]) for episode in episodes] == [True, False, False]
    assert episodes[1]["vectors"][0].tolist() == [8, 9, 10, 11]


def test_episodes_without_time_limits_are_cut_where_observations_jump(tmp_path):
    observations = np.arange(T, dtype=np.float64)[:, None]
    following = observations + 1
    following[2] = 99
    flat = arrays(observations, truncations=None, next_observations=following)
    assert [len(episode["actions"]) for episode in imported(tmp_path, flat)] == [3, 2]


def test_the_only_part_of_observations_need_not_be_named_and_those_of_tuples_have_numbers():
    nested = {"robot": ({"joints": 1}, 2)}
    assert part_of(nested, "robot/0", "here") == 1
    assert part_of(nested, "robot/1", "here") == 2
    with pytest.raises(DataError, match=r"the parts \['0', '1'\]; choose one"):
        part_of(nested, None, "here")
    with pytest.raises(DataError, match="no part 'camera' of the observations; they have no parts"):
        part_of(np.zeros(3), "camera", "here")


def test_parts_of_files_without_parts_are_refused(tmp_path):
    with pytest.raises(DataError, match="hold no parts of observations"):
        imported(tmp_path, arrays(), observation="camera")


def test_next_observations_of_another_shape_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"next_observations are \(3, 4\), not \(5, 4\)"):
        imported(
            tmp_path, arrays(np.zeros((T, 4)), truncations=None, next_observations=np.zeros((3, 4)))
        )


def test_ends_inside_a_file_without_time_limits_are_refused(tmp_path):
    flat = arrays(truncations=None, terminations=np.arange(T) == 1)
    with pytest.raises(DataError, match=r"0\.npz: .*no truncations or timeouts"):
        imported(tmp_path, flat)


def test_numbers_with_a_needless_last_axis_are_understood(tmp_path):
    columns = {name: arrays()[name][:, None] for name in ("actions", "rewards", "terminations")}
    (episode,) = imported(tmp_path, arrays(**columns))
    assert all(episode[name].shape == (T,) for name in ("actions", "rewards", "terminated"))


def test_the_space_of_actions_is_inferred_and_said_or_given_and_checked(tmp_path, caplog):
    torques = np.linspace(-1.5, 1, T)
    (episode,) = imported(tmp_path, arrays(actions=torques))
    assert episode["actions"].shape == (T, 1)
    assert read_description(tmp_path / "out").action_space.low == (-1.5,)
    assert "taken to be Box: action 0 in [-1.5, 1], as recorded" in caplog.text
    source, space = str(tmp_path / "source"), parse_space("Box(-2:2)")
    import_dataset(source, tmp_path / "given", action_space=space, action_names=["torque"])
    named = read_description(tmp_path / "given").action_space
    assert named == parse_space("Box(-2:2)", ["torque"])
    with pytest.raises(DataError, match="cannot be described"):
        import_dataset(source, tmp_path / "two", action_space=space, action_names=["a", "b"])
    with pytest.raises(DataError, match=r"0\.npz: actions\[0\] = \[-1\.5\] is not in Box"):
        import_dataset(source, tmp_path / "bad", action_space=parse_space("Box(-1:1)"))


def test_an_import_of_frames_that_are_nearly_black_says_so(tmp_path, caplog):
    mask = np.random.default_rng(0).integers(0, 2, (T, 8, 8, 3), dtype=np.uint8)
    imported(tmp_path, arrays(observations=mask))
    assert "frames are at most 1 of 255: nearly black" in caplog.text


def test_numbers_of_a_box_that_are_stored_as_integers_become_floats(tmp_path):
    space = parse_space("Box(-2:2)")
    pushes = np.arange(T)[:, None] % 3 - 1
    (episode,) = imported(tmp_path, arrays(actions=pushes), action_space=space)
    assert episode["actions"].dtype == np.float32
    np.testing.assert_array_equal(episode["actions"], pushes)

    kept = {**episode, "actions": pushes}
    np.savez(tmp_path / "e.npz", **kept)
    vectors = VectorSpec(names=tuple("abcd"), low=(None,) * 4, high=(None,) * 4)
    place_episodes([tmp_path / "e.npz"], tmp_path / "placed", vectors, space)
    placed = load_episode(tmp_path / "placed" / "e.npz")
    assert placed["actions"].dtype == np.float32


def test_an_import_never_writes_over_what_it_reads(tmp_path):
    source = folder(tmp_path / "rec.partial", arrays())
    with pytest.raises(DataError, match="choose another name"):
        import_dataset(str(source), tmp_path / "rec")
    assert list(source.glob("*.npz"))


def test_a_described_dataset_is_held_to_its_space(tmp_path):
    imported(tmp_path, arrays())
    other = arrays(actions=np.full(T, 7))
    np.savez(
        tmp_path / "out" / "later.npz",
        vectors=other["observations"][:-1].astype(np.float32),
        actions=other["actions"],
        rewards=other["rewards"],
        terminated=other["terminations"],
    )
    problems = validate_dataset(tmp_path / "out").problems
    assert list(problems) == ["later.npz"]
    assert "actions[0] = 7 is not in Discrete(2)" in problems["later.npz"]


def test_spaces_are_read_from_text():
    assert str(parse_space("Discrete(2)", ["left", "right"])) == "Discrete(2): 0 left, 1 right"
    assert parse_space("Box(-1:1, 0:1*2)").high == (1, 1, 1)
    for text in ("Discrete", "Discrete(x)", "Box(1)", "Box(1:0)", "Tuple(3)", "Discrete(0)"):
        with pytest.raises(DataError, match=r"is not Discrete|cannot be described"):
            parse_space(text)


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_the_command_imports_d4rls_files(tmp_path):
    h5py = pytest.importorskip("h5py", reason="pip install 'dreamserve-training[hdf5]'")
    flat = arrays(terminations=None, truncations=None, terminals=np.arange(T) == 1)
    with h5py.File(tmp_path / "d.hdf5", "w") as file:
        for name, array in flat.items():
            if array is not None:
                file[name] = array[:T]
        file["infos/qpos"] = np.zeros((T, 3))
    command = ("import", tmp_path / "d.hdf5", tmp_path / "out")
    with pytest.raises(DataError, match=r"d\.hdf5: lacks timeouts \(N,\)"):
        raise run(*command).exception
    with h5py.File(tmp_path / "d.hdf5", "a") as file:
        file["timeouts"] = np.zeros(T)
    result = run(*command, "--actions", "Discrete(3)", "--names", "a,b,c", "--limit", 1)
    assert "1 episodes, 2 steps, vectors 4, actions Discrete(3): 0 a, 1 b, 2 c" in result.output
    with pytest.raises(DataError, match="exists; import into a new folder"):
        raise run(*command).exception
    (tmp_path / "d.hdf5").write_bytes(b"no")
    with pytest.raises(DataError, match="cannot be read as HDF5"):
        raise run("import", tmp_path / "d.hdf5", tmp_path / "other").exception


def test_a_source_of_another_kind_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(
        DataError, match=r"no such .* minari:ID, a folder of \.npz files or a \.hdf5"
    ):
        import_dataset(str(tmp_path / "no.zarr"), tmp_path / "out")


def test_data_on_disk_is_split_the_same_way_every_time(tmp_path):
    imported(tmp_path, *[arrays()] * 10)
    train, holdout = Data(tmp_path / "out", holdout=0.2).split()
    assert (len(train), len(holdout)) == (8, 2)
    assert sorted(train + holdout) == episode_paths(tmp_path / "out")
    assert Data(tmp_path / "out", holdout=0.2).split() == (train, holdout)
    assert Data(tmp_path / "out", holdout=0.2, seed=1).split() != (train, holdout)
    assert len(Data(tmp_path / "out", holdout=0.001).split()[1]) == 1
    with pytest.raises(ValueError, match="holdout must be less than 1, not 2"):
        Data(tmp_path / "out", holdout=2).split()


def test_data_on_disk_is_taken_as_it_is_or_as_the_world_sees_it(tmp_path):
    imported(tmp_path, arrays(PICTURES), arrays(PICTURES))
    data = Data(tmp_path / "out")
    space, paths = data.description().action_space, data.split()[0]
    whole = FrameSpec(
        source_shape=(6, 7, 3), crop=Crop(top=0, bottom=6, left=0, right=7), shape=(6, 7, 3)
    )
    place_episodes(paths, tmp_path / "whole", whole, space)
    assert (tmp_path / "whole" / paths[0].name).samefile(paths[0])  # a link: no disk is used
    part = FrameSpec(
        source_shape=(6, 7, 3), crop=Crop(top=0, bottom=4, left=2, right=6), shape=(2, 2, 3)
    )
    place_episodes(paths, tmp_path / "part", part, space)
    seen = load_episode(tmp_path / "part" / paths[0].name)["frames"]
    assert seen.shape == (T, 2, 2, 3)
    assert np.allclose(seen[0, 0, 0], PICTURES[0, :2, 2:4].mean(axis=(0, 1)), atol=1)


def test_data_on_disk_that_is_not_as_described_is_refused_by_file(tmp_path):
    imported(tmp_path, arrays(PICTURES), arrays(PICTURES))
    data, four = Data(tmp_path / "out"), ("a", "b", "c", "d")
    vectors = VectorSpec(names=four, low=(None,) * 4, high=(None,) * 4)
    with pytest.raises(DataError, match=r"episode-00000\d\.npz: frames are \(6, 7, 3\), not vec"):
        place_episodes(data.split()[0], tmp_path / "x", vectors, data.description().action_space)
    (tmp_path / "out" / "dataset.json").unlink()
    with pytest.raises(DataError, match=r"holds no dataset\.json.*dreamserve-train import"):
        data.description()
