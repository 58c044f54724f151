"""How many processes work on a run of this machine, where a definition asks for several: `processing.parallelism`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from beam_pipelines.engine.job import Job

if TYPE_CHECKING:
    from beam_pipelines.engine.plan import Plan

__all__ = ["in_parallel"]

_LOG = logging.getLogger(__name__)
# A process of its own takes a second of processor time to begin, in which one reads some 50 MB of CSV.
_WORTH = 32 << 20


def in_parallel(job: Job, plan: Plan, options: Any) -> Any:
    """Give the options of a run as many worker processes as its definition asks for, and there is work for.

    Args:
        job: The service.
        plan: What the run has to do.
        options: Beam's. What they say themselves of workers stands.

    Returns:
        The options.
    """
    from apache_beam.options.pipeline_options import DirectOptions

    batch = job.definition.batch
    wanted = batch.processing.parallelism if batch is not None else None
    given = options.get_all_options(drop_default=True) if options is not None else {}
    if wanted is None or {"direct_num_workers", "direct_running_mode"} & set(given):
        return options
    workers = min(wanted, plan.files, plan.bytes // _WORTH)
    if workers < 2:
        return options
    if options is None:
        from beam_pipelines.engine.views import ViewedOptions

        options = ViewedOptions([])
    direct = options.view_as(DirectOptions)
    direct.direct_running_mode, direct.direct_num_workers = "multi_processing", workers
    _LOG.info("parallelism: %d worker processes for %d files", workers, plan.files)
    return options
