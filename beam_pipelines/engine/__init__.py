"""What every bounded service shares: the job, its plan, the pipeline `Prepare -> read -> steps -> stage -> Commit`, the launcher and the roll-forward."""
