"""Secrets by systemd's credentials: the configuration names them by the directory that only the service sees."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.config import load_settings
from monitor.core.errors import ConfigError
from monitor.storage import kafka_config

CONFIG = """
[kafka]
security = "sasl_plaintext"
username = "$CREDENTIALS_DIRECTORY"
password_file = "$CREDENTIALS_DIRECTORY/riskwire_kafka-password"
[[notifiers]]
kind = "slack"
channel = "C0123456789"
token_file = "$CREDENTIALS_DIRECTORY/riskwire_slack-token"
"""


def test_files_of_sections_and_of_notifiers_come_from_the_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "riskwire.toml").write_text(CONFIG, encoding="utf-8")
    given = tmp_path / "credentials"
    given.mkdir()
    (given / "riskwire_kafka-password").write_text("s3cret\n", encoding="utf-8")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(given))
    settings = load_settings(tmp_path / "riskwire.toml")
    assert kafka_config(settings).password == "s3cret"
    assert settings.notifiers[0].options["token_file"] == f"{given}/riskwire_slack-token"
    assert settings.kafka.username == "$CREDENTIALS_DIRECTORY", "only paths below it are meant"


def test_without_the_directory_the_message_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "riskwire.toml").write_text(CONFIG, encoding="utf-8")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(ConfigError, match="CREDENTIALS_DIRECTORY is not set"):
        load_settings(tmp_path / "riskwire.toml")
