"""`python -m beam_pipelines.etl`."""

from __future__ import annotations

import sys

from beam_pipelines.cli.etl import main
from beam_pipelines.cli.process import leave

if __name__ == "__main__":
    leave(main(sys.argv[1:]))
