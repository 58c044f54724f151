"""`python -m beam_pipelines.etl`."""

from __future__ import annotations

import sys

from beam_pipelines.engine.start import spare_the_collector

if __name__ == "__main__":
    spare_the_collector()

    from beam_pipelines.cli.etl import main
    from beam_pipelines.cli.process import leave

    leave(main(sys.argv[1:]))
