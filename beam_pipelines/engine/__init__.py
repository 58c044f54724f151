"""What every bounded service shares: job, plan, the pipeline `Prepare -> read -> steps -> stage -> Commit`, launcher, roll-forward."""
