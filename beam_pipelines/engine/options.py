"""Beam's options as a user gives them: checked, and the runner chosen, before anything starts."""

from __future__ import annotations

import argparse
import difflib
import functools
from collections.abc import Sequence
from typing import Any

from beam_pipelines.errors import PlanError, SpecError

__all__ = ["check_runner", "parse_beam"]

_LOCAL = ("DirectRunner", "FnApiRunner", "direct", "SwitchingDirectRunner", "BundleBasedDirectRunner")
_REFUSED = {
    "DaskRunner": "it ends DONE with wrong or missing output (tagged outputs, finish_bundle)",
    "InteractiveRunner": "it caches elements instead of running the pipeline once",
}


def parse_beam(arguments: Sequence[str]) -> Any:
    """Read Beam options strictly: an unknown one is an error, where Beam itself would only warn and drop it.

    Returns:
        `apache_beam.options.pipeline_options.PipelineOptions`, with views that are made once.

    Raises:
        SpecError: Unknown or malformed options.
    """
    from beam_pipelines.engine.views import ViewedOptions

    known = _known_flags()
    for argument in arguments:
        name = argument.split("=", 1)[0]
        if argument.startswith("-") and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SpecError(f"unknown option {name!r}{hint}", code="option-invalid")
        if not argument.startswith("-") and not _is_value(arguments, argument):
            raise SpecError(f"expected an option, got {argument!r}", code="option-invalid")
    return ViewedOptions(list(arguments))


@functools.cache
def _known_flags() -> frozenset[str]:
    """Every flag of Beam's; asked for twice in a run."""
    from apache_beam.options.pipeline_options import PipelineOptions

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for cls in [*PipelineOptions.__subclasses__(), PipelineOptions]:
        adder = getattr(cls, "_add_argparse_args", None)
        if adder is not None:
            adder(_Once(parser))
    return frozenset(flag for action in parser._actions for flag in action.option_strings)


def _is_value(arguments: Sequence[str], argument: str) -> bool:
    index = list(arguments).index(argument)
    return index > 0 and arguments[index - 1].startswith("-") and "=" not in arguments[index - 1]


class _Once:
    """An argparse parser that takes an option the first time only: Beam's option classes repeat a few."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._parser = parser

    def add_argument(self, *names: str, **settings: Any) -> None:
        settings.pop("required", None)
        try:
            self._parser.add_argument(*names, **settings)
        except argparse.ArgumentError:
            return

    def add_value_provider_argument(self, *names: str, **settings: Any) -> None:
        self.add_argument(*names, **settings)

    def add_mutually_exclusive_group(self, **_: Any) -> _Once:
        return self

    def add_argument_group(self, *_: Any, **__: Any) -> _Once:
        return self


def check_runner(options: Any) -> str:
    """Say which engine runs, or refuse the runner.

    Raises:
        PlanError: `runner-refused`, with the reason.
    """
    from apache_beam.options.pipeline_options import DirectOptions, StandardOptions

    runner = (options.view_as(StandardOptions).runner or "DirectRunner").rpartition(".")[2]
    if runner in _REFUSED:
        raise PlanError(f"{runner} is refused: {_REFUSED[runner]}", code="runner-refused")
    if runner not in _LOCAL:
        raise PlanError(
            f"{runner} is not served yet: this version starts runs on the DirectRunner; the pipeline itself is portable",
            code="runner-refused",
        )
    direct = options.view_as(DirectOptions)
    if direct.direct_running_mode == "multi_threading":
        raise PlanError(
            "direct_running_mode=multi_threading is refused: in Beam 2.77 it loses large batches on their way between threads;"
            " use multi_processing",
            code="runner-refused",
        )
    workers = direct.direct_num_workers or 0
    if direct.direct_running_mode == "multi_processing":
        return f"Beam's in-process portable runner, {workers or 'all'} worker processes"
    return "Beam's in-process portable runner, one process"
