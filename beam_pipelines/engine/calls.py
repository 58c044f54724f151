"""The APIs that steps ask: found by their connections, and kept in a worker process from one bundle to the next.

All bundles of a step in one process share its connections, its pace and what it was answered; the next run begins anew.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from beam_pipelines.engine.refusal import refusal
from beam_pipelines.errors import SpecError
from beam_pipelines.runs.context import RunContext
from beam_pipelines.spec.step import every_step
from beam_pipelines.transforms.step import Step

if TYPE_CHECKING:
    from beam_pipelines.engine.job import Job
    from beam_pipelines.io.http.place import HttpPlace
    from beam_pipelines.spec.step.enrich import EnrichStep

__all__ = ["asked_by", "asking", "asks", "check", "leave", "reach"]

_MEMORY = 1 << 27  # bytes of the answers that a step remembers in a worker process


def asking(job: Job) -> Iterator[tuple[str, EnrichStep]]:
    """Yield the steps of a job that ask an API, with their places in the definition."""
    for position, model in enumerate(job.definition.steps):
        if model.type == "enrich" and getattr(model, "connection", None) is not None:
            yield f"{job.path or job.definition.steps_path}[{position}]", model  # type: ignore[misc]


def asks(job: Job) -> bool:
    """Whether a step of a job asks an API, or one in the source of another step."""
    return any(getattr(model, "connection", None) is not None for model in every_step(job.definition.steps) if model.type == "enrich")


def asked_by(job: Job, step: Step) -> list[str]:
    """The connection of the API that a step asks; none where it asks none."""
    return [str(model.connection) for _, model in asking(job) if model.id == step.id]


def check(job: Job, context: RunContext | None) -> None:
    """See that the connections of a job's APIs are there and can be understood; nothing is asked.

    Raises:
        PlanError: One is not; names the key.
    """
    for path, model in asking(job):
        try:
            _place(job, model, context)
        except SpecError as error:
            why = "; ".join([error.message, *(problem.message for problem in error.problems)])
            raise refusal(f"{path}.connection", why, error.code) from error


def reach(job: Job, steps: Sequence[Step], context: Callable[[], RunContext | None]) -> None:
    """Tell each of a job's steps that asks an API how to have it.

    Args:
        job: Whose steps.
        steps: Some of them.
        context: Gives that of the run, when the API is needed.
    """
    models = {model.id: model for _, model in asking(job)}
    for step in steps:
        if step.id in models:
            step.reach(_lease(job, models[step.id], context))  # type: ignore[attr-defined]


def leave() -> None:
    """Close what no bundle uses now."""
    with _LOCK:
        idle = [key for key, one in _KEPT.items() if not one.users]
        closed = [_KEPT.pop(key).api for key in idle]
    for api in closed:
        api.close()


def _place(job: Job, model: EnrichStep, context: RunContext | None) -> HttpPlace:
    from beam_pipelines.io.http.place import HttpPlace

    return HttpPlace.of(job.connections(context).get(str(model.connection)))


def _lease(
    job: Job, model: EnrichStep, context: Callable[[], RunContext | None]
) -> Callable[[], contextlib.AbstractContextManager[_KeptApi]]:
    @contextlib.contextmanager
    def leased() -> Iterator[_KeptApi]:
        run = context()
        which = (run.run, run.started_at, run.connections) if run is not None else ()
        key = (job.service, job.path, model.id, model.model_dump_json(), *which)
        with _LOCK:
            if key not in _KEPT:
                _KEPT[key] = _Kept(_KeptApi(_place(job, model, run), model))
            kept = _KEPT[key]
            kept.users += 1
        try:
            yield kept.api
        finally:
            with _LOCK:
                kept.users -= 1

    return leased


class _KeptApi:
    """An API with its event loop and what it answered (`transforms.enrich.api.Api`).

    Args:
        place: Where it is.
        model: Of the step that asks it.
    """

    def __init__(self, place: HttpPlace, model: EnrichStep) -> None:
        from beam_pipelines.io.http.client import Client, Limits
        from beam_pipelines.transforms.concurrent import Loop

        limits = Limits(
            timeout=model.timeout.total_seconds(),
            retries=model.retries,
            interval=model.interval,
            concurrency=model.concurrency,
            size=model.max_response_size,
        )

        async def made() -> Client:
            return await Client(place, limits).open()

        self.lock = threading.Lock()
        self.answers = _memory(model)
        self._loop = Loop(f"step {model.id!r}")
        self._client: Client = self._loop.run(made())

    def ask(self, requests: Sequence[Any], read: Callable[[int, Any, Any], Any]) -> list[Any]:
        from beam_pipelines.io.http.client import Refusal
        from beam_pipelines.transforms.enrich.answer import Failure

        if not requests:
            return []
        answers = self._loop.run(self._client.ask(requests, lambda position, answer: read(position, answer.value, answer.exact)))
        return [Failure(one.message) if isinstance(one, Refusal) else one for one in answers]

    def close(self) -> None:
        with contextlib.suppress(Exception):  # the run is over; what cannot be closed ends with the process
            self._loop.run(self._client.close())
        self._loop.close()


@dataclass
class _Kept:
    api: _KeptApi
    users: int = 0


_KEPT: dict[tuple[Any, ...], _Kept] = {}
_LOCK = threading.Lock()


class _Forgetful(dict[Any, Any]):
    """Remembers nothing."""

    def __setitem__(self, key: Any, value: Any) -> None:
        del key, value


def _memory(model: EnrichStep) -> MutableMapping[Any, Any]:
    """The answers of a step: the least recently used one goes first, and each when its time is over."""
    from cachetools import LRUCache, TTLCache

    size, ttl = model.cache.size, model.cache.ttl

    def weight(answer: Any) -> float:
        # In keys: one, or as many as share the bytes that it takes. So one bound holds for both.
        return min(max(1.0, _bytes(answer) * size / _MEMORY), size)

    if not size:
        return _Forgetful()
    if ttl is None:
        return LRUCache(size, weight)
    return TTLCache(size, ttl.total_seconds(), getsizeof=weight)


def _bytes(value: Any) -> int:
    """What a JSON value takes in memory, nested ones included; no deeper than `io.http.json.MAX_DEPTH`."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sys.getsizeof(value) + sum(map(_bytes, parts))
