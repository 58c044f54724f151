"""Retention: dead letters, events and the history of quality go when their time is over, at the end of a run.

Of dead letters the file goes first, and the entry of the index after it. Should the process die in between, the next run finds the entry,
and no file, and forgets the entry. The other way round a file could stay for ever, and nobody would know of it. A file without an entry
(its state store was lost, or was another one) goes by its own age.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from beam_pipelines.engine.letters import Archive
from beam_pipelines.errors import BeamPipelinesError
from beam_pipelines.spec import Retention
from beam_pipelines.state.store import StateStore

__all__ = ["Deleted", "delete_letters", "keep_to"]

_LOG = logging.getLogger(__name__)
# `RUN.jsonl`, `RUN.SINK.jsonl`, and one that was never finished: whatever else is there is not ours.
_FILE = re.compile(r"([0-9a-f]{12})(\.[0-9a-z]+)?\.(jsonl|part)")


@dataclass(frozen=True)
class Deleted:
    """What was deleted.

    Args:
        runs: Runs whose dead letters went.
        letters: Dead letters, as the index counted them.
        files: Files.
    """

    runs: int = 0
    letters: int = 0
    files: int = 0


def keep_to(retention: Retention, store: StateStore, archive: Archive, service: str, run: str) -> None:
    """Delete what is older than a definition wants it kept. What cannot be deleted is logged, and tried again by the next run.

    Args:
        retention: Of the definition.
        store: Where index, outbox and history are.
        archive: Where dead letters are.
        service: Service id.
        run: The caller's run: its letters stay, whatever their age. Those of a stream are its drains', and go in their time.
    """
    try:
        if retention.dead_letters is not None:
            gone = delete_letters(store, archive, service, retention.dead_letters, keep=(run,))
            if gone != Deleted():
                _LOG.info("deleted %d dead letters of %d runs older than %s", gone.letters, gone.runs, retention.dead_letters)
        if retention.events is not None:
            deleted, waiting = store.forget_events(service, retention.events)
            if deleted:
                _LOG.info("deleted %d events older than %s, %d of them undelivered", deleted, retention.events, waiting)
        forgotten = store.forget_quality(service, retention.quality_history)
        if forgotten:
            _LOG.info("forgot the quality of %d runs", forgotten)
    except (OSError, BeamPipelinesError) as failed:
        _LOG.warning("what is older than `retention` allows is left for the next run to delete: %s", failed)


def delete_letters(store: StateStore, archive: Archive, service: str, age: timedelta, keep: Sequence[str] = ()) -> Deleted:
    """Delete the dead letters of runs that ended longer ago than `age`, with their index.

    Safe beside a run of the service, and beside itself: nothing of a run that has not ended goes, and what is gone already is no mistake.

    Args:
        store: Where the index is.
        archive: Where dead letters are; an entry of the index may name another folder, where they were then.
        service: Service id.
        age: How old.
        keep: Runs whose letters stay.
    """
    files, done = 0, []
    for run, urls in store.letters_older_than(service, age).items():
        if run in keep:
            continue
        try:
            files += sum(_delete(Path(url)) for url in urls if _is_of(Path(url), service, run))
            done.append(run)
        except OSError as failed:
            _LOG.warning("the dead letters of run %s cannot be deleted: %s", run, failed.strerror)
    letters = store.forget_failed_records(service, done) if done else 0
    # In this order: a run that ends between the two has left the one when it is in the other, and would be in neither the other way round.
    at_work = {*keep, *(one.run for one in store.unfinished(service))}
    known = {*at_work, *store.letters_older_than(service, None)}
    for path in _left(archive.folder / service, age):
        # What a run that has ended never finished is nobody's.
        run = path.name.partition(".")[0]
        if run not in known or (path.suffix == ".part" and run not in at_work):
            files += _delete(path)
    return Deleted(len(done), letters, files)


def _is_of(path: Path, service: str, run: str) -> bool:
    """Whether a path from the index is the file of a run: nothing else is deleted, whatever stands there."""
    found = _FILE.fullmatch(path.name)
    return found is not None and found[1] == run and path.suffix == ".jsonl" and path.parent.name == service


def _delete(path: Path) -> int:
    try:
        path.unlink()
    except FileNotFoundError:
        return 0
    return 1


def _left(folder: Path, age: timedelta) -> Iterator[Path]:
    """Files of runs in a folder, last written longer ago than `age`."""
    if not folder.is_dir():
        return
    oldest = time.time() - age.total_seconds()
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda one: one.name)
    for entry in found:
        if _FILE.fullmatch(entry.name) and entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime < oldest:
            yield Path(entry.path)
