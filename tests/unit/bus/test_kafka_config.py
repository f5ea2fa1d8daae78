"""KafkaConfig and what kafka-python is told."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer

from monitor.backends import KafkaSection
from monitor.bus import kafka_publisher
from monitor.bus.kafka_config import KafkaConfig, client_kwargs
from monitor.bus.kafka_topics import topic_specs
from monitor.core.errors import ConfigError


def test_every_key_of_the_section_has_its_place() -> None:
    names = {field.name for field in fields(KafkaConfig)}
    for key in KafkaSection.model_fields:
        if not key.endswith("_file") or key in ("ca_file", "cert_file", "key_file"):
            assert key in names, key


def test_the_sections_defaults_are_a_working_configuration() -> None:
    section = KafkaSection()  # type: ignore[call-arg]
    config = KafkaConfig()
    for name in ("bootstrap", "topic_prefix", "partitions", "replication", "min_insync", "timeout", "buffer_records"):
        assert getattr(section, name) == getattr(config, name), name


@pytest.mark.parametrize("client", [KafkaConsumer, KafkaProducer, KafkaAdminClient])
@pytest.mark.parametrize(
    "login",
    [
        {},
        {"security": "ssl"},
        {"security": "sasl_ssl", "username": "u", "password": "p"},
        {
            "security": "sasl_ssl",
            "sasl_mechanism": "OAUTHBEARER",
            "oauth_token_url": "https://id.example/token",
            "oauth_client_id": "c",
            "oauth_client_secret": "s",
        },
    ],
)
def test_every_argument_is_one_that_kafka_python_knows(client: Any, login: dict[str, Any]) -> None:
    assert set(client_kwargs(KafkaConfig(**login))) <= set(client.DEFAULT_CONFIG)


def test_plaintext_without_a_login() -> None:
    kwargs = client_kwargs(KafkaConfig(bootstrap=("a:1", "b:2"), timeout=12, client_id="me"))
    assert kwargs["bootstrap_servers"] == ["a:1", "b:2"]
    assert kwargs["request_timeout_ms"] == 12_000
    assert kwargs["client_id"] == "me"
    assert kwargs["security_protocol"] == "PLAINTEXT"
    assert "sasl_mechanism" not in kwargs
    assert "ssl_context" not in kwargs


def test_tls_verifies_unless_told() -> None:
    import ssl

    context = client_kwargs(KafkaConfig(security="ssl"))["ssl_context"]
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    lax = client_kwargs(KafkaConfig(security="ssl", check_hostname=False))["ssl_context"]
    assert lax.verify_mode is ssl.CERT_REQUIRED
    assert not lax.check_hostname


def test_a_password_travels_but_is_never_shown() -> None:
    config = KafkaConfig(
        security="sasl_plaintext", username="u", password="hush-1", oauth_client_secret="hush-2", sasl_mechanism="PLAIN"
    )
    kwargs = client_kwargs(config)
    assert kwargs["sasl_plain_password"] == "hush-1"
    assert kwargs["sasl_plain_password"].encode() == b"hush-1"
    assert "hush" not in f"{config!r} {config} {kwargs}"  # kafka-python logs its arguments at DEBUG level


def test_a_name_is_escaped_for_scram_only() -> None:
    login = {"security": "sasl_plaintext", "username": "a=b,c", "password": "p"}
    assert client_kwargs(KafkaConfig(**login))["sasl_plain_username"] == "a=3Db=2Cc"  # type: ignore[arg-type]
    plain = KafkaConfig(**login, sasl_mechanism="PLAIN")  # type: ignore[arg-type]
    assert client_kwargs(plain)["sasl_plain_username"] == "a=b,c"


OAUTH = {"security": "sasl_ssl", "sasl_mechanism": "OAUTHBEARER", "oauth_client_id": "c", "oauth_client_secret": "s"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"bootstrap": ()}, "names no broker"),
        ({"bootstrap": ("localhost",)}, "'host:port'"),
        ({"bootstrap": ("user:secret@host:9092",)}, "'host:port'"),
        ({"bootstrap": ("kafka://host:9092",)}, "'host:port'"),
        ({"topic_prefix": "risk wire/"}, "topic_prefix"),
        ({"replication": 1, "min_insync": 2}, "more than kafka.replication"),
        ({"timeout": 0.1}, "kafka.timeout"),
        ({"timeout": 900.0}, "kafka.timeout"),
        ({"cert_file": Path("c.pem")}, "both"),
        ({"security": "sasl_ssl"}, "needs username and password"),
        ({"security": "sasl_ssl", "sasl_mechanism": "OAUTHBEARER"}, "oauth_token_url"),
        ({**OAUTH, "oauth_token_url": "http://id.example/token"}, "https://"),
    ],
)
def test_what_cannot_work_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        KafkaConfig(**wrong)


def test_a_token_server_on_this_machine_needs_no_tls() -> None:
    KafkaConfig(**OAUTH, oauth_token_url="http://127.0.0.1:8080/token")  # type: ignore[arg-type]


@pytest.mark.parametrize("compression", ["lz4", "snappy", "zstd"])
def test_a_compression_without_its_library_is_told_at_once(compression: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = KafkaConfig(compression=compression)
    monkeypatch.setitem(kafka_publisher._CODECS, compression, (lambda: False, "the-package"))
    with pytest.raises(ConfigError, match=rf"'{compression}'.*pip install the-package"):
        kafka_publisher.require_codec(config)
    monkeypatch.setitem(kafka_publisher._CODECS, compression, (lambda: True, "the-package"))
    kafka_publisher.require_codec(config)


def test_topics_are_specified_whole() -> None:
    config = KafkaConfig(topic_prefix="p.", partitions=6, log_days=3, dead_letter_days=90, max_message_bytes=2_000_000)
    articles, letters = topic_specs(config)
    assert (articles.name, letters.name) == ("p.articles", "p.dead-letters")
    assert (articles.partitions, articles.replication) == (6, 3)
    assert articles.settings["retention.ms"] == str(3 * 86_400_000)
    assert letters.settings["retention.ms"] == str(90 * 86_400_000)
    for spec in (articles, letters):
        assert spec.settings["min.insync.replicas"] == "2"
        assert spec.settings["max.message.bytes"] == "2000000"
        assert spec.settings["cleanup.policy"] == "delete"
        assert spec.settings["message.timestamp.type"] == "CreateTime"


def test_the_topics_are_those_of_the_services() -> None:
    from monitor.bus import kafka_topics
    from monitor.services import topics

    assert (kafka_topics.ARTICLES, kafka_topics.DEAD_LETTERS) == (topics.ARTICLES, topics.DEAD_LETTERS)
