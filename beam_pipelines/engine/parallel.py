"""How many processes work on a run of this machine, where a definition asks for several: `processing.parallelism`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from beam_pipelines.engine.job import Job

if TYPE_CHECKING:
    from beam_pipelines.engine.plan import Plan

__all__ = ["in_parallel"]

_LOG = logging.getLogger(__name__)
# A process that is started anew takes a second of processor time to begin, in which one reads some 50 MB of CSV.
_WORTH = 32 << 20
_PACKED = 4  # times as much is in files that are compressed, about


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
    if wanted is None:
        return options
    given = options.get_all_options(drop_default=True) if options is not None else {}
    if {"direct_num_workers", "direct_running_mode"} & set(given):
        return options
    work = plan.bytes * (_PACKED if _packed(job) else 1)
    # Where inputs are parted, one may be the work of several.
    workers = min(wanted, work // _WORTH, *([plan.files] if job.shard_size is None else []))
    if workers < wanted:
        _LOG.info("parallelism: %d of %d worker processes, for %d files of %d bytes", max(workers, 1), wanted, plan.files, plan.bytes)
    if workers < 2:
        return options
    if options is None:
        from beam_pipelines.engine.views import ViewedOptions

        options = ViewedOptions([])
    direct = options.view_as(DirectOptions)
    direct.direct_running_mode, direct.direct_num_workers = "multi_processing", workers
    return options


def _packed(job: Job) -> bool:
    """Whether files are smaller than what is in them: by the definition, which names some of them."""
    source = job.definition.source
    names = [str(name).lower() for name in (source.path, getattr(source, "pattern", None)) if name]
    return source.compression not in (None, "none") or any(name.endswith((".gz", ".bz2", ".zst", ".parquet", ".avro")) for name in names)
