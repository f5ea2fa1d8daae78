"""The REST API and the dashboard's server. Knows ports only; who opens what is the composition root's business."""
