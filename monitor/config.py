"""The configuration: one TOML file, overridable by environment variables, checked whole before anything starts.

``RISKWIRE_<SECTION>__<KEY>`` overrides a key, e.g. ``RISKWIRE_INGEST__DEFAULT_INTERVAL=60``.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from monitor.backends import (
    BusSection,
    ElasticSection,
    KafkaSection,
    KibanaSection,
    ScaleSection,
    StateSection,
    StoreSection,
)
from monitor.core.errors import ConfigError
from monitor.secrets import with_credentials
from monitor.web_section import WebSection

DEFAULT_FILE = Path("riskwire.toml")
Role = Literal["ingest", "score", "detect", "notify", "web"]
ROLES: tuple[Role, ...] = get_args(Role)
WORK: tuple[Role, ...] = tuple(role for role in ROLES if role != "web")
"""What works on news; the rest shows it."""

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class IngestSection(_Section):
    """How news is fetched. Times in seconds."""

    user_agent: str = Field(
        "Riskwire/0.1 (+https://example.com/contact)", description="Sent with every request; name a contact."
    )
    default_interval: Positive = Field(300, description="Seconds between polls of a feed that does not say otherwise.")
    max_concurrent: int = Field(32, ge=1, le=1000, description="Polls at the same time over all hosts.")
    per_host_concurrent: int = Field(2, ge=1, le=100, description="Requests at the same time to one host.")
    per_host_spacing: float = Field(0.5, ge=0, description="Seconds between the starts of requests to one host.")
    spread: float = Field(20, ge=0, description="First polls after a start are spread over this many seconds.")
    timeout: Positive = Field(30, description="Seconds for one whole request.")
    max_bytes: int = Field(20_000_000, ge=1024, description="Largest response after decompression, in bytes.")
    backoff_base: Positive = Field(30, description="First wait after a failed poll; doubles with each failure.")
    backoff_cap: Positive = Field(3600, description="Longest wait after failed polls.")
    allow_networks: tuple[str, ...] = Field(
        (), description="Private networks that feeds may come from, e.g. '10.1.0.0/16'; refused otherwise."
    )


class ModelSection(_Section):
    """Which model scores, and how."""

    path: Path | None = Field(
        None, description="Folder of an artefact; when unset, what 'riskwire model set' chose, else the packaged one."
    )
    engine: Literal["auto", "onnx", "openvino", "torch"] = Field(
        "auto", description="auto: torch on CUDA when present, else onnx, int8 or float32 as measured once."
    )
    threads: int = Field(0, ge=0, description="Threads of the engine; 0: one per core.")
    token_budget: int = Field(4096, ge=128, description="Most tokens in one micro-batch, padding included.")
    max_wait: float = Field(0.02, ge=0, le=10, description="Seconds the first text of a batch waits for others.")
    cache_size: int = Field(50_000, ge=0, description="Results kept by text hash.")
    min_precision: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Verdicts that are right less often than this are 'uncertain'; unset: none is.",
    )


class EntitiesSection(_Section):
    """Whom to watch."""

    packaged: bool = Field(True, description="Use the packaged watchlist of about 260 institutions.")
    watchlists: tuple[Path, ...] = Field((), description="CSV files of your own; same id overrides.")


class DetectSection(_Section):
    """When an incident opens. See docs/detector.md."""

    bucket_minutes: int = Field(5, ge=1, le=30, description="Width of the time buckets; must divide 60.")
    grace: float = Field(60, ge=0, description="Seconds a bucket stays open after its end.")
    tick: Positive = Field(15, description="Seconds between detector ticks.")
    rules: tuple[Path, ...] = Field((), description="Files of rules (TOML), see docs/rules.md; read anew on SIGHUP.")
    tuning: dict[str, str | int | float] = Field(
        default_factory=dict,
        description="Constants of the detection, as tried with 'riskwire backtest --sweep'; see docs/detector.md.",
    )


class NotifySection(_Section):
    """How notifications are sent."""

    interval: Positive = Field(5, description="Seconds between looks into the outbox.")


class DriftSection(_Section):
    """Whether the news, or what the model makes of it, changes. See docs/lifecycle.md."""

    enabled: bool = Field(True, description="Look for drift in the background (role detect).")
    interval_hours: Positive = Field(24, description="Hours between two looks.")
    recent_days: Positive = Field(7, description="Days that are looked at.")
    reference_days: Positive = Field(28, description="Days before them that they are compared with.")


class RetentionSection(_Section):
    """How long things are kept."""

    articles_days: int = Field(400, ge=1, description="Days an article stays in the store.")
    audit_days: int = Field(
        2000, ge=1, description="Days for which a change of an incident can be rebuilt ('riskwire incidents audit')."
    )
    log_days: int = Field(7, ge=1, description="Days a processed record stays in the log.")


class ObserveSection(_Section):
    """Logs, health and metrics."""

    listen: str = Field("127.0.0.1:9464", description="Address of /healthz, /readyz and /metrics; '' switches it off.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="auto: console on a terminal, else JSON."
    )
    heartbeat_url: SecretStr = Field(
        SecretStr(""), description="Asked while the whole chain makes progress, and only then; see docs/metrics.md."
    )
    heartbeat_url_file: Path | None = Field(None, description="A file that holds it instead.")
    heartbeat_interval: Positive = Field(60, description="Seconds between two pings.")
    heartbeat_timeout: Positive = Field(10, description="Seconds for one ping.")
    heartbeat_limit: Positive = Field(
        900, description="Seconds by which polls, scoring or sending may be late before pings are withheld."
    )
    traces_url: str = Field(
        "", description="OTLP/HTTP receiver of traces, e.g. http://127.0.0.1:4318/v1/traces; needs 'riskwire[otel]'."
    )
    traces_ratio: Fraction = Field(1.0, description="Part of the traces that is recorded.")


class SourceEntry(BaseModel):
    """One source. Other keys are the connector's own and checked by it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field(min_length=1, max_length=100, description="Unique name; part of every article's identity.")
    kind: str = Field("feed", description="Connector: feed, archive, push, or one you installed.")

    @property
    def options(self) -> Mapping[str, object]:
        """The connector's own keys."""
        return dict(self.model_extra or {})


class NotifierEntry(BaseModel):
    """One notifier. Other keys are the notifier's own and checked by it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field("", description="Unique name; the kind when unset.")
    kind: str = Field(description="Notifier: console, slack, email, pagerduty, teams, webhook, or one you installed.")

    @property
    def options(self) -> Mapping[str, object]:
        """The notifier's own keys."""
        return dict(self.model_extra or {})


class Settings(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix="RISKWIRE_", env_nested_delimiter="__", env_ignore_empty=True
    )

    data_dir: Path = Field(Path("riskwire-data"), description="Folder of the databases (log, store, state).")
    base: Path = Field(Path(), exclude=True, description="Set by the loader: the folder of the file.")
    bus: BusSection = BusSection()
    kafka: KafkaSection = KafkaSection()
    store: StoreSection = StoreSection()
    elastic: ElasticSection = ElasticSection()
    kibana: KibanaSection = KibanaSection()
    state: StateSection = StateSection()
    scale: ScaleSection = ScaleSection()
    ingest: IngestSection = IngestSection()
    model: ModelSection = ModelSection()
    entities: EntitiesSection = EntitiesSection()
    detect: DetectSection = DetectSection()
    notify: NotifySection = NotifySection()
    retention: RetentionSection = RetentionSection()
    drift: DriftSection = DriftSection()
    observe: ObserveSection = ObserveSection()
    web: WebSection = WebSection()
    sources: tuple[SourceEntry, ...] = ()
    notifiers: tuple[NotifierEntry, ...] = (NotifierEntry(kind="console"),)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment goes before the file."""
        return (env_settings, init_settings)


def load_settings(path: Path | None) -> Settings:
    """Reads and checks the configuration.

    ``path`` None means ``riskwire.toml`` here when it exists, else the defaults. Relative paths in the file count
    from the file's folder. Raises ConfigError that names the file, the key and what was expected.
    """
    given = path or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)
    data: dict[str, Any] = {}
    if given is not None:
        data = with_credentials(_read_toml(given))
    _refuse_unknown_environment()
    try:
        settings = Settings(**data)
    except ValidationError as error:
        raise ConfigError(_explain(error, str(given or "environment")), hint="Run 'riskwire config show'.") from error
    _check(settings, str(given or "defaults"))
    return _rebase(settings, given.parent) if given is not None else settings


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file.", hint="'riskwire init' writes a commented one.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}.") from error


def _check(settings: Settings, where: str) -> None:
    if 60 % settings.detect.bucket_minutes:
        raise ConfigError(
            f"{where}: detect.bucket_minutes must divide 60, got {settings.detect.bucket_minutes}.", hint="Try 5."
        )
    if settings.store.kind == "elastic" and settings.detect.grace < 2 * settings.elastic.refresh_seconds + 5:
        raise ConfigError(
            f"{where}: detect.grace is {settings.detect.grace:g}: too short for Elasticsearch, where an article can be "
            "found only after a refresh.",
            hint=f"Set it to {2 * settings.elastic.refresh_seconds + 5:g} seconds at least.",
        )
    for what, names in (
        ("sources", [source.name for source in settings.sources]),
        ("notifiers", [notifier.name or notifier.kind for notifier in settings.notifiers]),
    ):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(f"{where}: {what}.name must be unique, but {', '.join(map(repr, twice))} occurs twice.")


def _rebase(settings: Settings, folder: Path) -> Settings:
    def absolute(path: Path) -> Path:
        return path if path.is_absolute() else folder / path

    changed: dict[str, Any] = {"data_dir": absolute(settings.data_dir), "base": folder}
    for name, section in settings:
        if not isinstance(section, BaseModel):
            continue
        paths: dict[str, Any] = {}
        for key, value in section:
            if isinstance(value, Path):
                paths[key] = absolute(value)
            elif isinstance(value, tuple) and any(isinstance(item, Path) for item in value):
                paths[key] = tuple(absolute(item) for item in value)
        if paths:
            changed[name] = section.model_copy(update=paths)
    return settings.model_copy(update=changed)


def _refuse_unknown_environment() -> None:
    """pydantic-settings overlooks unknown variables; a misspelt override must not go unnoticed."""
    fields = Settings.model_fields
    for variable in os.environ:
        if not variable.startswith("RISKWIRE_") or variable.startswith(_NOT_CONFIGURATION):
            continue
        section, _, key = variable.removeprefix("RISKWIRE_").lower().partition("__")
        if section not in fields:
            raise ConfigError(_unknown("environment", variable, [f"RISKWIRE_{name.upper()}" for name in fields]))
        model = fields[section].annotation
        if key and isinstance(model, type) and issubclass(model, BaseModel) and key not in model.model_fields:
            known = [f"RISKWIRE_{section.upper()}__{name.upper()}" for name in model.model_fields]
            raise ConfigError(_unknown("environment", variable, known))


_NOT_CONFIGURATION = ("RISKWIRE_SHARED", "RISKWIRE_TEST_")
"""Variables with our prefix that tests and benchmarks use."""


def _unknown(where: str, key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f"{where}: unknown key '{key}'." + (f" Did you mean '{close[0]}'?" if close else "")


def _explain(error: ValidationError, where: str) -> str:
    """One sentence for each wrong key, without the value when it could be a secret."""
    lines = []
    for item in error.errors(include_url=False):
        key = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            lines.append(_unknown(where, key, _siblings(item["loc"])))
        else:
            got = item.get("input")
            plain = isinstance(got, str | int | float | bool) and len(str(got)) < 80 and not _looks_secret(key)
            shown = f", got {got!r}" if plain else ""
            lines.append(f"{where}: {key}: {item['msg'][0].lower()}{item['msg'][1:]}{shown}.")
    return "\n".join(lines)


def _siblings(location: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Settings
    for part in location[:-1]:
        field = model.model_fields.get(str(part))
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    prefix = ".".join(str(part) for part in location[:-1])
    return [f"{prefix}.{name}" if prefix else name for name in model.model_fields]


def _looks_secret(key: str) -> bool:
    """Whether a key may hold a secret itself (not where to find one)."""
    name = key.rpartition(".")[2]
    words = ("token", "secret", "password", "api_key", "routing_key", "bearer")
    return any(word in name for word in words) and not name.endswith(("_file", "_env", "_url", "token_budget"))


def shown(settings: Settings) -> dict[str, Any]:
    """The effective configuration for people: secrets starred, option values that look secret too."""

    def hide(value: Any, key: str = "") -> Any:
        if isinstance(value, SecretStr):
            return "***" if value.get_secret_value() else ""
        if value and _looks_secret(key):
            return "***"
        if isinstance(value, Mapping):
            return {name: hide(item, str(name)) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [hide(item, key) for item in value]
        return str(value) if isinstance(value, Path) else value

    result: dict[str, Any] = hide(settings.model_dump(mode="python"))
    for entry in result["sources"]:
        if isinstance(entry.get("url"), str):  # a key may be in the query
            entry["url"] = re.sub(r"([?&][^=&#]*=)[^&#]+", r"\1***", entry["url"])
        if isinstance(entry.get("headers"), Mapping):
            entry["headers"] = dict.fromkeys(entry["headers"], "***")
    for entry in result["notifiers"]:
        if isinstance(entry.get("url"), str):  # a web hook's address is a secret
            entry["url"] = re.sub(r"(//[^/]+/).+", r"\1***", entry["url"])
    return result
