"""The catalogue of converters: what `converter:` in a map step may name."""

from __future__ import annotations

from beam_pipelines.transforms.converters.catalogue import bind, names
from beam_pipelines.transforms.converters.converter import Bound, Converted, ConverterProblem

__all__ = ["Bound", "Converted", "ConverterProblem", "bind", "names"]
