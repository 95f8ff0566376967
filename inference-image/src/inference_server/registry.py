"""Which model serves: a new one is loaded first, then swapped in; the old one is closed when it is idle."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inference_server.artifacts import ArtifactError
from inference_server.errors import NotReadyError, ReloadError, ReloadInProgressError, ReloadRefusedError
from inference_server.metrics import Identity, ModelMetrics, ServerMetrics
from inference_server.predictors.base import Predictor

logger = logging.getLogger(__name__)

Loader = Callable[[Path], Predictor]


@dataclass(slots=True)
class LoadedModel:
    """A predictor, its metrics, and how many calls use it now."""

    predictor: Predictor
    metrics: ModelMetrics
    artifacts: Path
    users: int = 0
    retired: bool = False

    @property
    def identity(self) -> Identity:
        """Name and version as reported, which the environment may have set."""
        return self.metrics.identity


@dataclass(slots=True)
class ModelRegistry:
    """Holds the model that serves. All methods may be called from any thread.

    Attributes:
        loader: makes a predictor of a directory; raises ArtifactError.
        metrics: of the process.
        version: reported instead of the predictor's own, when given.
        warm_up: items that are predicted before a model serves.
    """

    loader: Loader
    metrics: ServerMetrics
    version: str | None = None
    warm_up: Sequence[Any] = ()
    _current: LoadedModel | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _loading: threading.Lock = field(default_factory=threading.Lock)

    @property
    def current(self) -> LoadedModel:
        """The model that serves.

        Raises:
            NotReadyError: when none is loaded.
        """
        current = self._current
        if current is None:
            raise NotReadyError("No model is loaded yet; ask /v2/health/ready until it answers 200.")
        return current

    @property
    def loaded(self) -> bool:
        """Whether a model serves."""
        return self._current is not None

    def load(self, artifacts: Path) -> LoadedModel:
        """Load and warm up ``artifacts``, then swap them in. Takes seconds; call it off the event loop.

        Raises:
            ArtifactError: the artefacts must not be served; what served before still does.
            ReloadInProgressError: another load runs.
        """
        if not self._loading.acquire(blocking=False):
            raise ReloadInProgressError("Another reload has not finished; try again when it has.")
        try:
            # Resolved once: a link that is exchanged meanwhile must not give files of two runs.
            predictor = self.loader(artifacts.resolve())
            predictor.predict(self.warm_up)
            identity = Identity(predictor.name, self.version or predictor.version)
            loaded = LoadedModel(predictor, self.metrics.model(identity, predictor.info), artifacts)
            with self._lock:
                previous, self._current = self._current, loaded
            if previous is not None:
                self._retire(previous)
            return loaded
        finally:
            self._loading.release()

    @contextmanager
    def lease(self) -> Iterator[LoadedModel]:
        """Use the current model; it is not closed before the block ends, whatever is swapped meanwhile.

        Raises:
            NotReadyError: when none is loaded.
        """
        with self._lock:
            model = self.current
            model.users += 1
        try:
            yield model
        finally:
            with self._lock:
                model.users -= 1
                close = model.retired and model.users == 0
            if close:
                model.predictor.close()

    def close(self) -> None:
        """Serve nothing any more."""
        with self._lock:
            current, self._current = self._current, None
        if current is not None:
            self._retire(current)

    def _retire(self, model: LoadedModel) -> None:
        with self._lock:
            model.retired = True
            close = model.users == 0
        if close:
            model.predictor.close()


def reload_model(registry: ModelRegistry, directory: Path | None, *, root: Path) -> LoadedModel:
    """Load other artefacts (or the same directory again) while the current model serves; count the outcome.

    Args:
        registry: of the server.
        directory: where the artefacts are; ``None`` means where the current ones came from.
        root: directories outside of it are refused, links followed.

    Raises:
        NotReadyError, ReloadInProgressError, ReloadRefusedError, ReloadError: what served goes on serving.
    """
    current = registry.current
    asked = current.artifacts if directory is None else root / directory
    target = asked.resolve()
    if directory is not None and not target.is_relative_to(root.resolve()):
        current.metrics.reload("refused")
        raise ReloadRefusedError(
            f"{directory} is outside of {root}; only artefacts below {root} may be loaded."
        )
    try:
        loaded = registry.load(target)
        # As it was asked for: the next reload without a directory follows the link again.
        loaded.artifacts = asked
    except ArtifactError as error:
        current.metrics.reload("failure")
        logger.warning("Artefacts in %s were not loaded, the previous ones go on serving: %s", target, error)
        raise ReloadError(f"{error} The previous artefacts go on serving.") from error
    except (OSError, ValueError, RuntimeError) as error:
        current.metrics.reload("failure")
        logger.exception("Artefacts in %s were not loaded, the previous ones go on serving.", target)
        raise ReloadError(f"{target} could not be loaded; the previous artefacts go on serving.") from error
    loaded.metrics.reload("success")
    logger.info(
        "Model %s version %s from %s serves from now on.",
        loaded.identity.model,
        loaded.identity.version,
        target,
    )
    return loaded
