"""Beam's options, with the views that Beam asks for again and again made once."""

from __future__ import annotations

from typing import TypeVar

from apache_beam.options.pipeline_options import PipelineOptions

__all__ = ["ViewedOptions"]

_View = TypeVar("_View", bound=PipelineOptions)


class ViewedOptions(PipelineOptions):
    """Options whose views are kept: they share their values, so one of a class is as good as another.

    Beam makes a view, and an argument parser for it, for every transform it applies: a fifth of the time of building a small pipeline.
    """

    def view_as(self, cls: type[_View]) -> _View:
        views = self.__dict__.setdefault("_views", {})
        view = views.get(cls)
        if view is None:
            view = views[cls] = super().view_as(cls)
        return view

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in super().__getstate__().items() if name != "_views"}
