"""Every error of kafka-python becomes one of ours here, with the next step to take."""

from __future__ import annotations

from kafka import errors as kafka_errors

from monitor.bus.kafka_config import KafkaConfig
from monitor.core.errors import RecordError, RiskwireError, StorageError, UnavailableError

APPLY = "Create it with 'riskwire topics apply'."


class KafkaUnreachableError(UnavailableError):
    """No broker answers at present; the same call may succeed later."""


def missing_topic(name: str, config: KafkaConfig) -> StorageError:
    """The topic is not there; Riskwire never creates one by the way."""
    return StorageError(f"The Kafka topic '{name}' does not exist at {config.brokers}.", hint=APPLY)


def explain(error: BaseException, config: KafkaConfig, *, topic: str = "", group: str = "") -> RiskwireError:
    """Our error for one of kafka-python: a StorageError (KafkaUnreachableError when trying again may help), or a
    RecordError when it is the record's fault. ``topic`` and ``group`` are names in the cluster."""
    if isinstance(error, RiskwireError):
        return error
    where = f"Kafka at {config.brokers}"
    login = f" as '{config.username or config.oauth_client_id}'" if config.sasl else ""
    for kinds, message, hint in (
        (
            (kafka_errors.SaslAuthenticationFailedError, kafka_errors.IllegalSaslStateError),
            f"{where} refused the login{login} ({config.sasl_mechanism}).",
            "Check kafka.username and the password (or the OAuth client) and kafka.sasl_mechanism.",
        ),
        (
            (kafka_errors.UnsupportedSaslMechanismError,),
            f"{where} does not offer the login {config.sasl_mechanism}.",
            "Set kafka.sasl_mechanism to one that the brokers' sasl.enabled.mechanisms lists.",
        ),
        (
            (kafka_errors.TopicAuthorizationFailedError,),
            f"{where} does not allow this{login} on the topic {_quoted(topic) or 'asked for'}.",
            "Grant READ, WRITE and DESCRIBE on it with kafka-acls; docs/kafka.md lists what each role needs.",
        ),
        (
            (kafka_errors.GroupAuthorizationFailedError,),
            f"{where} does not allow this{login} in the group {_quoted(group) or 'asked for'}.",
            "Grant READ on the group with kafka-acls; docs/kafka.md lists what each role needs.",
        ),
        (
            (kafka_errors.AuthorizationError,),
            f"{where} does not allow this{login}.",
            "Grant the missing right with kafka-acls; docs/kafka.md lists what each role needs.",
        ),
        (
            (kafka_errors.UnsupportedVersionError,),
            f"{where} is too old for this: {_text(error)}",
            "Riskwire needs Kafka 2.4 or newer.",
        ),
        (
            (kafka_errors.InvalidReplicationFactorError,),
            f"{where} cannot keep {config.replication} copies of a partition: it has fewer brokers.",
            "Lower kafka.replication (and kafka.min_insync) or add brokers.",
        ),
        (
            (kafka_errors.PolicyViolationError, kafka_errors.InvalidConfigurationError),
            f"{where} refused the topic's settings: {_text(error)}",
            "Ask whoever runs the cluster, and adapt [kafka].",
        ),
        (
            (kafka_errors.InvalidSessionTimeoutError,),
            f"{where} does not accept a session of {config.session_timeout:g} seconds.",
            "Set kafka.session_timeout between the brokers' group.min.session.timeout.ms and group.max.….",
        ),
        (
            (kafka_errors.InconsistentGroupProtocolError,),
            f"Other members of the group {_quoted(group) or 'asked for'} share it by another protocol.",
            "Only Riskwire may read for this group; choose another kafka.topic_prefix.",
        ),
    ):
        if isinstance(error, kinds):
            return StorageError(message, hint=hint)
    if isinstance(error, kafka_errors.NotEnoughReplicasError | kafka_errors.NotEnoughReplicasAfterAppendError):
        return KafkaUnreachableError(
            f"{where} has fewer copies in sync of {_quoted(topic) or 'a topic'} than min.insync.replicas asks for.",
            hint="Bring the missing brokers back; what is unpublished is tried again.",
        )
    if isinstance(error, kafka_errors.MessageSizeTooLargeError | kafka_errors.RecordListTooLargeError):
        return RecordError(
            f"A record is larger than the topic {_quoted(topic)} takes.",
            hint="Raise the topic's max.message.bytes; 'riskwire topics apply' sets it.",
        )
    if isinstance(error, kafka_errors.UnknownTopicOrPartitionError) and topic:
        return missing_topic(topic, config)
    return _unreachable(error, where, config)


def _unreachable(error: BaseException, where: str, config: KafkaConfig) -> StorageError:
    text = _text(error)
    if "ECONNREFUSED" in text:
        return KafkaUnreachableError(
            f"{where} refused the connection: is it running?", hint="Start it, or correct kafka.bootstrap."
        )
    if "DNS lookup failed" in text:
        return KafkaUnreachableError(f"{where} has no address in the DNS.", hint="Correct kafka.bootstrap.")
    if "Handshake failed" in text or "SSL" in text:
        return _handshake(text, where)
    if config.tls and "disconnected" in text:  # since TLS 1.3 the refusal of a client comes after its handshake
        return KafkaUnreachableError(
            f"{where} ended the encrypted connection at once.",
            hint="It may ask for a client certificate, or not accept ours: check kafka.cert_file and kafka.key_file.",
        )
    if isinstance(error, kafka_errors.RetriableError | OSError):
        return KafkaUnreachableError(
            f"{where} does not answer ({text}).",
            hint="Check that the brokers run, that their advertised.listeners can be reached from here, and "
            "kafka.security.",
        )
    return StorageError(f"{where} failed: {text}", hint="'riskwire doctor' checks the cluster part by part.")


def _handshake(text: str, where: str) -> StorageError:
    if "CERTIFICATE_VERIFY_FAILED" in text and "Hostname mismatch" not in text and "IP address mismatch" not in text:
        return StorageError(
            f"{where} shows a certificate that is not trusted.",
            hint="Set kafka.ca_file to the PEM file of the authority that signed it.",
        )
    if "mismatch" in text:
        return StorageError(
            f"{where} shows a certificate for another host name.",
            hint="Use the name in kafka.bootstrap that the certificate carries, or set kafka.check_hostname = false.",
        )
    if "CERTIFICATE_REQUIRED" in text or "certificate required" in text:
        return StorageError(f"{where} asks for a client certificate.", hint="Set kafka.cert_file and kafka.key_file.")
    if ("alert" in text.lower() and "certificate" in text.lower()) or "UNKNOWN_CA" in text:
        return StorageError(
            f"{where} refused our client certificate ({text}).", hint="Check kafka.cert_file and kafka.key_file."
        )
    return KafkaUnreachableError(
        f"{where} could not agree on an encrypted connection ({text}).",
        hint="Check kafka.security: a plaintext port was perhaps asked for TLS.",
    )


def _quoted(name: str) -> str:
    return f"'{name}'" if name else ""


def _text(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
