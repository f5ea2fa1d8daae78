"""Constants of the detection from the configuration."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from tiny_model import artefact

from alerts.pipeline import DetectPipeline
from monitor.app import build_pipeline
from monitor.config import load_settings
from monitor.core.errors import ConfigError
from monitor.entities.watchlist import Watchlist


def pipeline(tmp_path: Path, tuning: str) -> DetectPipeline:
    file = tmp_path / "riskwire.toml"
    text = f"[model]\npath = '{artefact()}'\n[detect]\ngrace = 30\ntuning = {tuning}\n"
    file.write_text(text, "utf-8")
    return build_pipeline(load_settings(file), Watchlist(entities=()))


def test_constants_come_from_the_configuration(tmp_path: Path) -> None:
    made = pipeline(
        tmp_path, '{ "incidents.open_q" = 0.03, "detect.detector.min_stories" = 7, "silence.threshold" = 0.001 }'
    )
    assert made.config.incidents.open_q == 0.03
    assert made.config.detector.min_stories == 7
    assert made.config.silence.threshold == 0.001
    assert made.config.grace == timedelta(seconds=30)
    assert pipeline(tmp_path, "{}").config.incidents.open_q != 0.03


@pytest.mark.parametrize("tuning", ['{ "incidents.open_qq" = 0.02 }', '{ "incidents.open_q" = "much" }'])
def test_what_is_no_constant_is_refused(tmp_path: Path, tuning: str) -> None:
    with pytest.raises(ConfigError, match="open_q"):
        pipeline(tmp_path, tuning)
