"""Imported once by the fork server of `testing.faults`: what every run needs, and nothing that starts a thread."""

from __future__ import annotations

import apache_beam
import duckdb
import sqlalchemy
from apache_beam.runners.portability import fn_api_runner

import beam_pipelines.engine.launch
import beam_pipelines.engine.pipeline
import beam_pipelines.etl.service

__all__: list[str] = []
_LOADED = (apache_beam, duckdb, sqlalchemy, fn_api_runner, beam_pipelines)
