"""Beam alone: the smallest pipeline there is, on the in-process runner, left by os._exit as our command is.

What a run of any service costs on top of this is ours.
"""

import os

import apache_beam as beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner


def main() -> None:
    pipeline = beam.Pipeline(runner=FnApiRunner())
    _ = pipeline | beam.Create([None])
    pipeline.run().wait_until_finish()
    os._exit(0)


if __name__ == "__main__":
    main()
