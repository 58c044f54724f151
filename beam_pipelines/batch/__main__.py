"""`python -m beam_pipelines.batch`."""

from __future__ import annotations

import sys

from beam_pipelines.engine.start import choose_allocator, leave, spare_the_collector

if __name__ == "__main__":
    spare_the_collector()
    choose_allocator()

    from beam_pipelines.cli.batch import main

    leave(main(sys.argv[1:]))
