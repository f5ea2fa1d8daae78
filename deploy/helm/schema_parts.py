"""The chart's own keys, as JSON Schema. Every object is closed: an unknown key is refused."""

from __future__ import annotations

from typing import Any

ENTRY_SECRETS = [
    "token", "app_token", "password", "secret", "bearer", "routing_key", "api_key", "client_secret",
]  # fmt: skip
"""Keys of sources and notifiers that hold a secret itself. Each has a sister ``…_file``."""


def closed(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    """An object without other keys."""
    found: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": properties}
    return found | ({"required": list(required)} if required else {})


def listed(item: dict[str, Any]) -> dict[str, Any]:
    """A list of one thing."""
    return {"type": "array", "items": item}


TEXT: dict[str, Any] = {"type": "string"}
FILLED: dict[str, Any] = {"type": "string", "minLength": 1}
SWITCH: dict[str, Any] = {"type": "boolean"}
COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
SOME: dict[str, Any] = {"type": "integer", "minimum": 1}
PORT: dict[str, Any] = {"type": "integer", "minimum": 1, "maximum": 65535}
NAME: dict[str, Any] = {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", "maxLength": 253}
TEXTS: dict[str, Any] = {"type": "object", "additionalProperties": TEXT}
FREE: dict[str, Any] = {"type": "object"}
"""A piece of the Kubernetes API, which checks it itself (and so do our tests)."""
QUANTITY: dict[str, Any] = {"type": ["string", "number"], "pattern": r"^[0-9.]+([munkKMGTPE]i?)?$"}
SIZES: dict[str, Any] = {"type": "object", "additionalProperties": QUANTITY}
DIGEST: dict[str, Any] = {"type": "string", "pattern": "^$|^sha256:[0-9a-f]{64}$"}
RESOURCES = closed({"requests": SIZES, "limits": SIZES})
SECRET_FILES = listed(
    closed({"name": {"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]*$"}, "secret": NAME, "key": FILLED},
           "name", "secret", "key")
)  # fmt: skip
ROLE = closed(
    {
        "enabled": SWITCH,
        "replicas": SOME,
        "resources": RESOURCES,
        "nodeSelector": TEXTS,
        "tolerations": listed(FREE),
        "affinity": FREE,
        "priorityClassName": TEXT,
        "podAnnotations": TEXTS,
    }
)
PEERS = closed({"to": listed(FREE), "ports": listed(PORT)})

CHART: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Values of the Riskwire chart",
    "type": "object",
    "additionalProperties": False,
    "required": ["config"],
    "properties": {
        "nameOverride": TEXT,
        "fullnameOverride": TEXT,
        "global": FREE,
        "image": closed({
            "repository": FILLED, "tag": TEXT, "gpuTag": TEXT,
            "digest": DIGEST, "gpuDigest": DIGEST,
            "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]}, "pullSecrets": listed(NAME),
        }, "repository"),
        "commonLabels": TEXTS,
        "user": {"type": "integer", "minimum": 1},
        "config": {"$ref": "#/$defs/config"},
        "files": {
            "type": "object", "additionalProperties": TEXT,
            "propertyNames": {"pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]*$", "not": {"const": "riskwire.toml"}},
        },
        "secretFiles": SECRET_FILES,
        "extraVolumes": listed(FREE),
        "extraVolumeMounts": listed(FREE),
        "roles": closed(dict.fromkeys(("all", "core", "ingest", "score", "detect", "notify", "web"), ROLE)),
        "terminationGracePeriodSeconds": {"type": "integer", "minimum": 30, "maximum": 3600},
        "startupSeconds": {"type": "integer", "minimum": 30, "maximum": 3600},
        "persistence": closed({
            "size": QUANTITY, "storageClass": TEXT, "existingClaim": TEXT, "keep": SWITCH,
            "accessModes": listed({"enum": ["ReadWriteOnce", "ReadWriteOncePod"]}),
        }),
        "gpu": closed({
            "enabled": SWITCH, "count": SOME, "resource": FILLED, "tokenBudget": {"type": "integer", "minimum": 128},
            "runtimeClassName": TEXT, "nodeSelector": TEXTS, "tolerations": listed(FREE), "resources": RESOURCES,
        }),
        "autoscaling": closed({
            "kind": {"enum": ["none", "keda", "hpa"]}, "minReplicas": COUNT, "maxReplicas": SOME,
            "cpuUtilization": {"type": "integer", "minimum": 10, "maximum": 100},
            "keda": closed({
                "lagThreshold": SOME, "activationLagThreshold": COUNT, "pollingInterval": SOME,
                "cooldownPeriod": COUNT, "fallbackReplicas": SOME, "existingAuthentication": TEXT,
                "secrets": listed(closed({
                    "parameter": {"enum": [
                        "sasl", "username", "password", "tls", "ca", "cert", "key", "keyPassword",
                        "oauthTokenEndpointUri", "scopes",
                    ]},
                    "secret": NAME, "key": FILLED,
                }, "parameter", "secret", "key")),
            }),
        }),
        "podDisruptionBudgets": SWITCH,
        "topologySpread": SWITCH,
        "networkPolicy": closed({
            "enabled": SWITCH,
            "dns": PEERS, "kafka": PEERS, "elastic": PEERS, "postgres": PEERS, "kibana": PEERS,
            "internet": closed({"enabled": SWITCH, "ports": listed(PORT), "exceptV4": listed(FILLED),
                                "exceptV6": listed(FILLED)}),
            "metricsFrom": listed(FREE), "webFrom": listed(FREE), "pushFrom": listed(FREE),
            "extraEgress": listed(FREE),
        }),
        "monitoring": closed({
            "kind": {"enum": ["none", "ServiceMonitor", "PodMonitor"]}, "interval": FILLED, "labels": TEXTS,
            "rules": SWITCH,
        }),
        "web": closed({
            "port": PORT,
            "serviceType": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
            "ingress": closed({"enabled": SWITCH, "className": TEXT, "host": TEXT, "tlsSecret": TEXT,
                               "annotations": TEXTS}),
            "httpRoute": closed({"enabled": SWITCH, "hostnames": listed(FILLED), "parentRefs": listed(FREE)}),
        }),
        "setup": closed({
            "enabled": SWITCH, "topics": SWITCH, "store": SWITCH, "kibana": SWITCH,
            "kibanaArgs": listed(FILLED), "config": {"$ref": "#/$defs/config"}, "secretFiles": SECRET_FILES,
            "resources": RESOURCES, "deadlineSeconds": SOME,
        }),
    },
    "$defs": {},
}  # fmt: skip
