"""Every failure of the cluster has a plain message and a next step."""

from __future__ import annotations

import pytest
from kafka import errors as kafka_errors

from monitor.bus.kafka_config import KafkaConfig
from monitor.bus.kafka_errors import KafkaUnreachableError, explain
from monitor.core.errors import RecordError, StorageError, UnavailableError

CONFIG = KafkaConfig(bootstrap=("k1:9092", "k2:9092"), security="sasl_ssl", username="wire", password="hush")


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (kafka_errors.SaslAuthenticationFailedError("x"), "refused the login as 'wire'", "kafka.username"),
        (kafka_errors.UnsupportedSaslMechanismError("x"), "does not offer the login SCRAM-SHA-512", "sasl_mechanism"),
        (kafka_errors.TopicAuthorizationFailedError("x"), "on the topic 't'", "kafka-acls"),
        (kafka_errors.GroupAuthorizationFailedError("x"), "in the group 'g'", "kafka-acls"),
        (kafka_errors.ClusterAuthorizationFailedError("x"), "does not allow this as 'wire'", "kafka-acls"),
        (kafka_errors.UnknownTopicOrPartitionError("x"), "'t' does not exist", "riskwire topics apply"),
        (kafka_errors.InvalidReplicationFactorError("x"), "cannot keep 3 copies", "kafka.replication"),
        (kafka_errors.InvalidSessionTimeoutError("x"), "session of 30 seconds", "kafka.session_timeout"),
        (kafka_errors.NotEnoughReplicasError("x"), "fewer copies in sync", "missing brokers"),
        (kafka_errors.PolicyViolationError("no"), "refused the topic's settings", "Ask whoever runs"),
        (kafka_errors.IncompatibleBrokerVersion("old"), "too old", "2.4"),
        (kafka_errors.InconsistentGroupProtocolError("x"), "another protocol", "topic_prefix"),
        (kafka_errors.KafkaConnectionError("111 ECONNREFUSED"), "is it running?", "kafka.bootstrap"),
        (kafka_errors.KafkaConnectionError("DNS lookup failed for k1:9092"), "no address", "kafka.bootstrap"),
        (kafka_errors.KafkaTimeoutError("Unable to bootstrap"), "does not answer", "advertised.listeners"),
        (
            kafka_errors.KafkaConnectionError("Handshake failed: [SSL: CERTIFICATE_VERIFY_FAILED] self-signed"),
            "not trusted",
            "kafka.ca_file",
        ),
        (
            kafka_errors.KafkaConnectionError(
                "Handshake failed: [SSL: CERTIFICATE_VERIFY_FAILED] Hostname mismatch, certificate is not valid for 'k'"
            ),
            "another host name",
            "check_hostname",
        ),
        (
            kafka_errors.KafkaConnectionError(
                "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required"
            ),
            "asks for a client certificate",
            "kafka.cert_file",
        ),
        (
            kafka_errors.KafkaConnectionError("Handshake failed: [SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca"),
            "refused our client certificate",
            "kafka.cert_file",
        ),
        (kafka_errors.KafkaConnectionError("socket disconnected"), "ended the encrypted", "kafka.cert_file"),
        (kafka_errors.KafkaConnectionError("Handshake failed: [SSL: WRONG_VERSION_NUMBER]"), "agree", "kafka.security"),
        (kafka_errors.CorruptRecordError("crc"), "failed: ", "riskwire doctor"),
        (RuntimeError("surprise"), "failed: surprise", "riskwire doctor"),
    ],
)
def test_what_happened_and_what_to_do(error: Exception, message: str, hint: str) -> None:
    told = explain(error, CONFIG, topic="t", group="g")
    assert isinstance(told, StorageError)
    assert message in told.message
    assert hint in told.hint
    assert "hush" not in str(told)


def test_a_record_is_to_blame_for_its_size() -> None:
    assert isinstance(explain(kafka_errors.MessageSizeTooLargeError("x"), CONFIG, topic="t"), RecordError)


def test_what_may_mend_by_itself_is_told_apart() -> None:
    for error in (kafka_errors.KafkaTimeoutError("x"), kafka_errors.NodeNotReadyError("x"), OSError("x")):
        assert isinstance(explain(error, CONFIG), KafkaUnreachableError)
    assert isinstance(explain(kafka_errors.NotEnoughReplicasError("x"), CONFIG), UnavailableError)  # services wait
    for error in (kafka_errors.SaslAuthenticationFailedError("x"), kafka_errors.CorruptRecordError("x")):
        assert not isinstance(explain(error, CONFIG), KafkaUnreachableError)


def test_our_own_errors_stay_as_they_are() -> None:
    error = StorageError("x")
    assert explain(error, CONFIG) is error
