"""The configuration: errors name file, key and expected value; secrets stay hidden."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from monitor.config import Settings, load_settings, shown
from monitor.core.errors import ConfigError


@pytest.fixture
def write(tmp_path: Path):  # type: ignore[no-untyped-def]
    def _write(text: str) -> Path:
        path = tmp_path / "riskwire.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return _write


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[ingest]\ndefault_intervall = 3",
            "unknown key 'ingest.default_intervall'. Did you mean 'ingest.default_interval'",
        ),
        ("[ingestt]\n", "unknown key 'ingestt'. Did you mean 'ingest'"),
        ("[ingest]\ndefault_interval = 'soon'", "ingest.default_interval: .*valid number.*'soon'"),
        ("[ingest]\ndefault_interval = -1", "ingest.default_interval: .*greater than 0, got -1"),
        ("[model]\nengine = 'tpu'", "model.engine: .*'auto', 'onnx', 'openvino' or 'torch', got 'tpu'"),
        ("[detect]\nbucket_minutes = 7", "detect.bucket_minutes must divide 60, got 7"),
        ("[[sources]]\nname='a'\n[[sources]]\nname='a'", "sources.name must be unique, but 'a'"),
        ("[[sources]]\nurl='x'", r"sources.0.name: field required"),
        ("data_dir = [", "not valid TOML"),
    ],
)
def test_a_wrong_configuration_names_file_key_and_expectation(write, text: str, message: str) -> None:  # type: ignore[no-untyped-def]
    path = write(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_settings(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file.*riskwire init"):
        load_settings(tmp_path / "none.toml")


def test_the_environment_overrides_the_file(write, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("RISKWIRE_INGEST__DEFAULT_INTERVAL", "77")
    assert (
        load_settings(write("[ingest]\ndefault_interval = 5\nspread = 1")).ingest
        == Settings(
            ingest={"default_interval": 77, "spread": 1}  # type: ignore[arg-type]
        ).ingest
    )


@pytest.mark.parametrize("name", ["RISKWIRE_INGEST__DEFAULT_INTERVALL", "RISKWIRE_INGESTT__SPREAD"])
def test_a_misspelt_variable_does_not_go_unnoticed(monkeypatch: pytest.MonkeyPatch, name: str, tmp_path: Path) -> None:
    monkeypatch.setenv(name, "1")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"unknown key '{name}'. Did you mean 'RISKWIRE_INGEST"):
        load_settings(None)


def test_paths_count_from_the_file(write) -> None:  # type: ignore[no-untyped-def]
    path = write("data_dir='d'\n[model]\npath='m'\n[entities]\nwatchlists=['w.csv']")
    settings = load_settings(path)
    assert settings.data_dir == path.parent / "d"
    assert settings.model.path == path.parent / "m"
    assert settings.entities.watchlists == (path.parent / "w.csv",)


def test_addresses_of_web_hooks_and_keys_are_not_shown() -> None:
    settings = Settings.model_validate(
        {
            "notifiers": [
                {"kind": "teams", "url": "https://prod.example:443/workflows/abc?sig=hidden"},
                {"kind": "pagerduty", "routing_key": "hidden"},
                {"kind": "webhook", "url": "http://hook.example", "bearer": "hidden", "secret_file": "/run/s"},
            ]
        }
    )
    text = str(shown(settings)["notifiers"])
    assert "hidden" not in text
    assert "https://prod.example:443/***" in text
    assert "/run/s" in text


def test_secrets_are_not_shown(write) -> None:  # type: ignore[no-untyped-def]
    settings = load_settings(write("[[notifiers]]\nkind='slack'\ntoken='xoxb-1'\ntoken_env='SLACK'\nchannel='C1'"))
    text = str(shown(settings))
    assert "xoxb-1" not in text
    assert "SLACK" in text
    assert shown(settings)["model"]["token_budget"] == 4096


def test_the_default_file_is_valid_and_watches_about_twenty_feeds() -> None:
    text = resources.files("monitor").joinpath("default.toml").read_text(encoding="utf-8")
    import tomllib

    settings = Settings(**tomllib.loads(text))
    assert 18 <= len(settings.sources) <= 25
    assert all(source.options["url"].startswith("https://") for source in settings.sources)  # type: ignore[attr-defined]


def test_every_commented_key_of_the_default_file_is_a_key_with_that_default() -> None:
    """What the file shows after '#' must be true: key names and default values."""
    import tomllib

    text = resources.files("monitor").joinpath("default.toml").read_text(encoding="utf-8")
    head = text.split("[[notifiers]]")[0]
    lines = [line.removeprefix("# ") if " = " in line and line.startswith("# ") else line for line in head.splitlines()]
    examples = {("model", "path"), ("model", "min_precision"), ("entities", "watchlists")}
    examples.add(("observe", "heartbeat_url_file"))
    data = tomllib.loads("\n".join(lines))
    defaults = Settings().model_dump(mode="json")
    for section, values in data.items():
        if isinstance(values, dict):
            for key, value in values.items():
                assert key in defaults[section], (section, key)
                if (section, key) not in examples:
                    assert defaults[section][key] == value, (section, key)
    documented = {section: set(values) for section, values in data.items() if isinstance(values, dict)}
    for section, values in defaults.items():
        # What only a cluster needs is in docs/reference/configuration.md, to which the file points.
        if isinstance(values, dict) and section not in {"kafka", "elastic", "kibana", "state", "scale"}:
            assert documented.get(section) == set(values), section
