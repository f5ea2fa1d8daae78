"""The configuration of what carries and keeps the data: bus, article store and state store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

Positive = Annotated[float, Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BusSection(_Section):
    """What carries articles from ingest to score."""

    kind: Literal["sqlite", "kafka"] = Field("sqlite", description="sqlite: a log in the data folder; kafka: [kafka].")


class KafkaSection(_Section):
    """The Kafka cluster, when bus.kind = 'kafka'. See docs/kafka.md."""

    bootstrap: tuple[str, ...] = Field(("localhost:9092",), description="Brokers to begin with, 'host:port' each.")
    topic_prefix: str = Field("riskwire.", max_length=100, description="Put before every topic's and group's name.")
    client_id: str = Field("riskwire", description="How the brokers' logs and quotas name this program.")
    security: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = Field(
        "plaintext", description="ssl: encrypted; sasl_…: with a login."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = Field(
        "SCRAM-SHA-512", description="How to log in, when security begins with sasl_."
    )
    username: str = Field("", description="For PLAIN and SCRAM.")
    password: SecretStr = Field(SecretStr(""), description="For PLAIN and SCRAM; better from password_file.")
    password_file: Path | None = Field(None, description="File that holds the password.")
    oauth_token_url: str = Field("", description="OAUTHBEARER: where tokens are fetched (client credentials grant).")
    oauth_client_id: str = Field("", description="OAUTHBEARER: client id.")
    oauth_client_secret: SecretStr = Field(SecretStr(""), description="OAUTHBEARER: client secret; better from a file.")
    oauth_client_secret_file: Path | None = Field(None, description="File that holds the client secret.")
    oauth_scope: str = Field("", description="OAUTHBEARER: scope to ask for.")
    ca_file: Path | None = Field(None, description="PEM file of the authority to trust; the system's when unset.")
    cert_file: Path | None = Field(None, description="PEM file of the client certificate, for mutual TLS.")
    key_file: Path | None = Field(None, description="PEM file of its key.")
    check_hostname: bool = Field(True, description="Whether the broker's certificate must carry its host name.")
    compression: Literal["none", "gzip", "lz4", "snappy", "zstd"] = Field(
        "gzip", description="Of what is published; all but gzip need their library installed."
    )
    partitions: int = Field(8, ge=1, le=1024, description="Partitions of a topic, for 'riskwire topics apply'.")
    replication: int = Field(3, ge=1, le=15, description="Copies of each partition.")
    min_insync: int = Field(2, ge=1, le=15, description="Copies that must have a record before it counts as published.")
    dead_letter_days: int = Field(90, ge=1, description="Days a dead letter is kept.")
    timeout: Positive = Field(30, description="Seconds for one request.")
    delivery_timeout: Positive = Field(120, description="Seconds after which an unanswered publish has failed.")
    session_timeout: float = Field(30, ge=6, le=300, description="Seconds without a heartbeat that end membership.")
    buffer_records: int = Field(2000, ge=10, description="Fetched records held; partitions pause beyond.")


class StoreSection(_Section):
    """What keeps scored articles."""

    kind: Literal["sqlite", "elastic"] = Field(
        "sqlite", description="sqlite: in the data folder; elastic: see [elastic]."
    )


class ElasticSection(_Section):
    """The Elasticsearch cluster, when store.kind = 'elastic'. See docs/elastic.md."""

    urls: tuple[str, ...] = Field(("http://localhost:9200",), description="Nodes, without credentials.")
    prefix: str = Field(
        "riskwire", pattern=r"^[a-z0-9][a-z0-9_-]{0,60}$", description="Begin of every index, alias and template name."
    )
    api_key: SecretStr = Field(SecretStr(""), description="Encoded API key; better from api_key_file.")
    api_key_file: Path | None = Field(None, description="File that holds the API key.")
    username: str = Field("", description="Basic login, instead of an API key.")
    password: SecretStr = Field(SecretStr(""), description="Basic login; better from password_file.")
    password_file: Path | None = Field(None, description="File that holds the password.")
    ca_file: Path | None = Field(None, description="PEM file of the authority to trust; the system's when unset.")
    fingerprint: str = Field("", description="SHA-256 fingerprint of the cluster's certificate, instead of ca_file.")
    shards: int = Field(1, ge=1, le=64, description="Shards of a month's index.")
    replicas: int = Field(1, ge=0, le=8, description="Copies of each shard beside the first.")
    refresh_seconds: float = Field(1, ge=0.1, le=60, description="How soon stored articles can be searched.")
    timeout: Positive = Field(30, description="Seconds for one request.")
    bulk_items: int = Field(500, ge=1, le=10_000, description="Most articles in one bulk request.")
    bulk_bytes: int = Field(5_000_000, ge=10_000, description="Most bytes in one bulk request.")


class KibanaSection(_Section):
    """Kibana, for 'riskwire kibana import'. See docs/kibana.md."""

    url: str = Field("http://localhost:5601", description="Address, with server.basePath, without credentials.")
    space: str = Field(
        "", pattern=r"^[a-z0-9_-]*$", max_length=100, description="Space to import into; the default one when unset."
    )
    api_key: SecretStr = Field(SecretStr(""), description="Encoded API key; better from api_key_file.")
    api_key_file: Path | None = Field(None, description="File that holds the API key.")
    username: str = Field("", description="Basic login, instead of an API key.")
    password: SecretStr = Field(SecretStr(""), description="Basic login; better from password_file.")
    password_file: Path | None = Field(None, description="File that holds the password.")
    ca_file: Path | None = Field(None, description="PEM file of the authority to trust; the system's when unset.")
    timeout: Positive = Field(60, description="Seconds for one request.")


class StateSection(_Section):
    """What keeps cursors, baselines, incidents and the outbox. Always transactional."""

    url: SecretStr = Field(
        SecretStr(""), description="'postgresql://user@host/database'; SQLite in the data folder when unset."
    )
    password_file: Path | None = Field(None, description="File that holds the database password.")


class ScaleSection(_Section):
    """Several processes of one role. See docs/scale.md."""

    instance: str = Field(
        "", max_length=100, description="Name of this process; made from host and process id when unset."
    )
    lease_seconds: float = Field(15, ge=3, le=300, description="A replica that was silent for this long is replaced.")
