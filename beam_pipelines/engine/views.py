"""Beam's options, with the views that Beam asks for again and again made once."""

from __future__ import annotations

import functools
from typing import TypeVar

from apache_beam.options.pipeline_options import PipelineOptions

__all__ = ["ViewedOptions"]

_View = TypeVar("_View", bound=PipelineOptions)


class ViewedOptions(PipelineOptions):
    """Options whose views are kept: they share their values, so one of a class is as good as another.

    Beam makes a view, and an argument parser for it, for every transform it applies: a fifth of the time of building a small pipeline. What
    is parsed is kept for all runs of the process that are given the same words: a tenth of a small run.
    """

    def view_as(self, cls: type[_View]) -> _View:
        views = self.__dict__.setdefault("_views", {})
        view = views.get(cls)
        if view is None:
            view = views[cls] = self._made(cls)
        return view

    def _made(self, cls: type[_View]) -> _View:
        """A view as Beam makes it, of words that have been parsed already."""
        parsed = _parsed(cls, tuple(self._flags))  # type: ignore[arg-type]
        for name in parsed._visible_option_list():
            if name not in self._all_options:
                value = getattr(parsed._visible_options, name)
                self._all_options[name] = list(value) if isinstance(value, list) else value  # Beam adds to lists
        view: _View = object.__new__(cls)
        view.__dict__.update(parsed.__dict__, _flags=self._flags, _all_options=self._all_options)
        return view

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in super().__getstate__().items() if name != "_views"}


@functools.lru_cache(maxsize=128)
def _parsed(cls: type[_View], words: tuple[str, ...]) -> _View:
    return cls(list(words))
