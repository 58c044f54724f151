"""Beam's options as a user gives them: checked, and the runner chosen, before anything starts."""

from __future__ import annotations

import argparse
import difflib
import functools
import os
from collections.abc import Sequence
from typing import Any, NoReturn

from beam_pipelines.errors import PlanError, SpecError

__all__ = ["check_runner", "on_prism", "parse_beam", "refuse_runner"]

_LOCAL = ("DirectRunner", "FnApiRunner", "direct", "SwitchingDirectRunner", "BundleBasedDirectRunner")
_PRISM = "PrismRunner"
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

    parser = _parser()
    _, strange = parser.parse_known_args(list(arguments))
    if strange and strange[0].startswith("-"):
        name = strange[0].split("=", 1)[0]
        near = difflib.get_close_matches(name, parser.flags, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise SpecError(f"unknown option {name!r}{hint}", code="option-invalid")
    if strange:
        raise SpecError(f"expected an option, got {strange[0]!r}", code="option-invalid")
    return ViewedOptions(list(arguments))


class _Parser(argparse.ArgumentParser):
    """Knows every option of Beam's, and raises where argparse would print usage and leave."""

    @property
    def flags(self) -> list[str]:
        return [flag for action in self._actions for flag in action.option_strings]

    def error(self, message: str) -> NoReturn:
        raise SpecError(message.replace("argument --", "option --"), code="option-invalid")


@functools.cache
def _parser() -> _Parser:
    """Asked for twice in a run."""
    from apache_beam.options.pipeline_options import PipelineOptions

    parser = _Parser(add_help=False, allow_abbrev=False)
    for cls in [*PipelineOptions.__subclasses__(), PipelineOptions]:
        adder = getattr(cls, "_add_argparse_args", None)
        if adder is not None:
            adder(_Once(parser))
    return parser


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


def refuse_runner(name: str) -> None:
    """Refuse a runner that is known to do wrong.

    Args:
        name: Of its class, without its module.

    Raises:
        PlanError: `runner-refused`, with the reason.
    """
    if name in _REFUSED:
        raise PlanError(f"{name} is refused: {_REFUSED[name]}", code="runner-refused")


def on_prism(options: Any) -> bool:
    """Whether the user has chosen Prism."""
    from apache_beam.options.pipeline_options import StandardOptions

    return options is not None and (options.view_as(StandardOptions).runner or "").rpartition(".")[2] == _PRISM


def check_runner(options: Any, *, live: bool = False) -> str:
    """Say which engine runs, or refuse the runner.

    Args:
        options: Beam's.
        live: What runs is a stream.

    Raises:
        PlanError: `runner-refused`, with the reason; `option-invalid`: an option that would not do what it says.
    """
    from apache_beam.options.pipeline_options import DirectOptions, StandardOptions

    runner = options.view_as(StandardOptions).runner or "DirectRunner"
    package, _, name = runner.rpartition(".")
    refuse_runner(name)
    if name == _PRISM:
        if not live:
            raise PlanError(
                f"{runner} serves streams alone: a run with an end takes longer on it than on the DirectRunner",
                code="runner-refused",
            )
        return "Prism, with this process as its worker"
    if name not in _LOCAL or (package and package.partition(".")[0] != "apache_beam"):
        near = difflib.get_close_matches(runner, ["DirectRunner"], n=1, cutoff=0.8)
        hint = f"; did you mean {near[0]}?" if near else "; the pipeline itself is portable"
        raise PlanError(f"{runner} is not served: this version starts runs on the DirectRunner{hint}", code="runner-refused")
    direct = options.view_as(DirectOptions)
    if direct.direct_running_mode == "multi_threading":
        raise PlanError(
            "direct_running_mode=multi_threading is refused: in Beam 2.77 it loses large batches on their way between threads;"
            " use multi_processing",
            code="runner-refused",
        )
    workers = direct.direct_num_workers
    if workers < 0:
        raise PlanError(
            f"expected a number of worker processes, 0 for one a core, got --direct_num_workers={workers}", code="option-invalid"
        )
    if direct.direct_running_mode != "multi_processing" and workers != 1:
        raise PlanError(
            f"--direct_num_workers={workers} has no effect without --direct_running_mode=multi_processing: one process does the work",
            code="option-invalid",
        )
    if direct.direct_running_mode == "multi_processing":
        count = workers or os.cpu_count()
        return f"Beam's in-process portable runner, {count} worker process{'es' if count != 1 else ''}"
    return "Beam's in-process portable runner, one process"
