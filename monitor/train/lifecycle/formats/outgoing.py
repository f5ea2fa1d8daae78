"""What every format writes of an article that is worth labelling."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from monitor.core.codec import time_to_str
from monitor.model.artefact import Artefact
from monitor.train.lifecycle.pool import Candidate


def facts(candidate: Candidate) -> dict[str, Any]:
    """The columns of a candidate that are not to be filled in."""
    article, scores = candidate.item.article, candidate.scores
    return {
        "id": article.id,
        "text": candidate.text,
        "lang": article.lang,
        "published_at": time_to_str(article.published_at),
        "source": article.source,
        "predicted_topic": scores.topic,
        "p_topic": round(scores.topics[scores.topic], 4),
        "predicted_sentiment": scores.sentiment,
        **{f"p_{name}": round(scores.sentiments.get(name, 0.0), 4) for name in ("negative", "neutral", "positive")},
        "reason": candidate.reason,
        "model": candidate.model,
    }


def display(artefact: Artefact, task: str, label: str) -> str:
    """A label's names for people: English / Chinese."""
    spec = artefact.tasks[task]
    return " / ".join(dict.fromkeys(spec.display(label, lang) for lang in ("en", "zh")))


def write_json(path: Path, value: object) -> Path:
    """Writes one JSON file, for people to read as well; returns its path. Raises OSError, UnicodeEncodeError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", "utf-8")
    return path
