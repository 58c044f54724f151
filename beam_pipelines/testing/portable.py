"""A run as a template or a Flink job is one: the pipeline's proto is written here, and run elsewhere by a process that has nothing else.

What the other process has: the proto and its staged artifacts (one folder), this package, connections and run context in its environment.

    python -m beam_pipelines.testing.portable FOLDER [Beam options]
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from beam_pipelines.engine.job import Job

__all__ = ["main", "run", "write"]

_PROTO = "pipeline.pb"


def write(job: Job, folder: Path, options: Sequence[str] = ()) -> None:
    """Write a job's pipeline, and what workers need to run it, as a runner's job service would keep it.

    Args:
        job: The service.
        folder: Made; gets `pipeline.pb` and the artifacts under the names they are staged by.
        options: Beam's options.
    """
    import apache_beam as beam
    from apache_beam.portability.api import beam_runner_api_pb2 as api
    from apache_beam.transforms.environments import EmbeddedPythonEnvironment

    from beam_pipelines.engine.options import parse_beam
    from beam_pipelines.engine.pipeline import RunLoads

    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        packed, wheel = job.packed(Path(scratch))
        parsed = parse_beam([*options, *([f"--extra_package={wheel}"] if wheel else [])])
        pipeline = beam.Pipeline(options=parsed)
        pipeline | "Run" >> RunLoads(packed)
        proto = pipeline.to_runner_api(default_environment=EmbeddedPythonEnvironment.from_options(parsed))
        for environment in proto.components.environments.values():
            for dependency in environment.dependencies:
                here = api.ArtifactFilePayload.FromString(dependency.type_payload)
                name = api.ArtifactStagingToRolePayload.FromString(dependency.role_payload).staged_name
                shutil.copy(here.path, folder / name)
                dependency.type_payload = api.ArtifactFilePayload(path=name, sha256=here.sha256).SerializeToString()
    (folder / _PROTO).write_bytes(proto.SerializeToString())


def run(folder: Path, options: Sequence[str] = ()) -> None:
    """Run what `write` wrote, in this process; its environment holds the run context and the connections."""
    from apache_beam.portability.api import beam_runner_api_pb2 as api

    from beam_pipelines.engine.local import LocalRunner
    from beam_pipelines.engine.options import parse_beam

    proto = api.Pipeline.FromString((folder / _PROTO).read_bytes())
    with tempfile.TemporaryDirectory() as installed:
        for wheel in folder.glob("*.whl"):
            # What `pip install` does with a wheel of plain Python, without a network or a change to this environment.
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(installed)
        sys.path.append(installed)
        try:
            LocalRunner().run_via_runner_api(proto, parse_beam(options)).wait_until_finish()
        finally:
            sys.path.remove(installed)


def main(argv: Sequence[str]) -> None:
    """Run the folder that is named first, with the Beam options that follow."""
    run(Path(argv[0]), argv[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
