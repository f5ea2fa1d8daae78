"""Dashboards for Kibana over the articles and incidents in Elasticsearch: made from code, and imported."""
