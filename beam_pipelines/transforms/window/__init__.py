"""Events summed up by windows of event time: states of windows that combine in any order, and what comes out as time goes on."""

from __future__ import annotations

from beam_pipelines.transforms.window.step import Screened, Settled, Windowed

__all__ = ["Screened", "Settled", "Windowed"]
