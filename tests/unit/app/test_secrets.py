from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from monitor.core.errors import ConfigError
from monitor.secrets import secret


def test_a_file_is_read_without_its_last_line_break(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("p ä$\n")
    assert secret(SecretStr(""), file, "kafka.password") == "p ä$"
    assert secret(SecretStr("x"), None, "kafka.password") == "x"
    assert secret(SecretStr(""), None, "kafka.password") == ""


def test_what_cannot_be_used_is_named_without_the_secret(tmp_path: Path) -> None:
    file = tmp_path / "password"
    with pytest.raises(ConfigError, match=r"kafka\.password_file: .*password cannot be read: No such file"):
        secret(SecretStr(""), file, "kafka.password")
    file.write_text("\n")
    with pytest.raises(ConfigError, match="is empty"):
        secret(SecretStr(""), file, "kafka.password")
    file.write_text("one")
    with pytest.raises(ConfigError, match="both set") as raised:
        secret(SecretStr("hunter2"), file, "kafka.password")
    assert "hunter2" not in str(raised.value)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        secret(SecretStr(""), file, "kafka.password")
