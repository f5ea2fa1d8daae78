"""The composable index template of the Elasticsearch store."""
