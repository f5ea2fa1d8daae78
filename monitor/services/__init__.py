"""The steps of the pipeline: ingest, score, detect, notify. They know ports only."""
