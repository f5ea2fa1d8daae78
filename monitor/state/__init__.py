"""State stores: small JSON documents that must survive restarts (cursors, baselines, incidents, outbox, receipts)."""
