"""The models of the worlds that are here. Sequences begin on the one that is loaded under a name;
they are stepped on the one that they began on, which may be retired."""

from weakref import WeakKeyDictionary

from dreamserve.api.inference.models import UNVERSIONED, Model
from dreamserve.engine.served import ServedWorlds
from dreamserve.engine.world import World
from dreamserve_protocol.errors import InvalidRequestError, WorldNotFoundError
from dreamserve_protocol.sessions import SessionResult

_SHOWN = 80


class Catalog:
    """The models of an engine's worlds. Any thread may use it."""

    def __init__(self, served: ServedWorlds) -> None:
        self._served = served
        self._models = WeakKeyDictionary[World, Model]()  # weak, so that retired worlds are freed

    def loaded(self) -> dict[str, Model]:
        """Return the models on which sequences begin, by name."""
        return {name: self._model(one) for name, one in self._served.by_name.copy().items()}

    @property
    def is_single(self) -> bool:
        """Whether only one world is here, so that all sessions are of it."""
        return len(self._served.here) == 1

    def find(self, name: str, version: str | None) -> Model:
        """Return a model; without a version, the loaded one, or the last that was.

        Raises WorldNotFoundError.
        """
        loaded = self.loaded()
        if name in loaded and version in (None, loaded[name].version):
            return loaded[name]
        versions = [self._model(one) for one in self._served.here if one.name == name]
        if not versions:
            known = ", ".join(loaded)
            raise WorldNotFoundError(f"no world {name[:_SHOWN]!r}; loaded: {known}")
        if version is None:
            return versions[-1]
        for model in versions:
            if model.version == version:
                return model
        known = " and ".join(model.version for model in versions)
        raise WorldNotFoundError(f"{name} has version {known}, not {version[:_SHOWN]}")

    def find_loaded(self, name: str, version: str | None) -> Model:
        """Return a model on which sequences begin. Raises WorldNotFoundError."""
        model, loaded = self.find(name, version), self.loaded()
        if loaded.get(name) is not model:
            known = ", ".join(f"{one.name} {one.version}" for one in loaded.values())
            retired = f"{name} {model.version} is retired and takes no new sequences"
            raise WorldNotFoundError(f"{retired}; loaded: {known}")
        return model

    def model_of(self, live: SessionResult, name: str, version: str | None) -> Model:
        """Return the model of a live session, which must be the one that a path names.

        Raises InvalidRequestError.
        """
        own = live.world_version or UNVERSIONED
        of_world = f"sequence {live.session_id} is of the world {live.world}"
        if live.world != name:
            raise InvalidRequestError(of_world)
        if version not in (None, own):
            raise InvalidRequestError(f"{of_world}, version {own}")
        return self.find(name, own)

    def _model(self, world: World) -> Model:
        return self._models.get(world) or self._models.setdefault(world, Model(world))
