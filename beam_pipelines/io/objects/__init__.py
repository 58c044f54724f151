"""Files where they lie: on this machine, in S3, in Google Cloud Storage; all through one narrow interface."""
