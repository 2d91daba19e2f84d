"""The operations, one file each: what ``mlflow run . -e NAME`` and ``python -m entrypoints.NAME`` start."""
