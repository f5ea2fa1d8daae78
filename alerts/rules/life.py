"""The life of a rule's incident, pure: one story opens it, others evolve it, it is told again, it ends.

A story that matched is itself written as the incident it would open (:func:`opened`); :func:`merged` adds it to the one
that is open. So the audit needs no form of its own for what an incident was made from (:func:`rebuilt`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from alerts.commands import awake
from alerts.reason import moment, pick, plural
from alerts.rules.engine import Match
from monitor.core.codec import incident_from_dict, incident_to_dict, time_from_str, time_to_str
from monitor.core.errors import CodecError
from monitor.core.ids import digest
from monitor.core.types import Evidence, Incident, IncidentState, ScoredArticle

KIND = "rule"
KEEP_ARTICLES = 200
KEEP_SOURCES = 50
_WORDS_SHOWN = 8


def opened(match: Match, item: ScoredArticle, story: str, *, at: datetime, heat: int = 1, held: int = 0) -> Incident:
    """The incident that a story opens. ``held``: stories that matched while the rule cooled down."""
    rule, article, scored = match.rule, item.article, item.scored
    reason = explained(match, item)
    if held:
        reason += f" {plural(held, 'story').capitalize()} matched before, while the rule cooled down."
    return Incident(
        id=digest(KIND, rule.name, story),
        key=rule.key,
        kind=KIND,
        state=IncidentState.OPEN,
        severity=rule.severity,
        observed=1.0,
        expected=0.0,
        low=0.0,
        high=0.0,
        p_value=1.0,
        q_value=1.0,
        opened_at=at,
        updated_at=at,
        title=rule.shown,
        reason=reason,
        stories=1,
        articles=(article.id,),
        sources=(article.source,),
        entities=tuple(dict.fromkeys(mention.name for mention in scored.entities))[:12],
        evidence=(
            Evidence(
                article_id=article.id,
                story_id=story,
                title=article.title,
                source=article.source,
                url=article.url,
                published_at=article.published_at,
                heat=heat,
                negative=scored.scores.negative,
                lang=article.lang,
                topic=scored.scores.topic if scored.scores.topics else "",
                entities=tuple(dict.fromkeys(mention.name for mention in scored.entities)),
            ),
        ),
        model=scored.model,
    )


def explained(match: Match, item: ScoredArticle) -> str:
    """Which rule matched, by which words and where, with the probability."""
    title_end = len(item.article.title)
    shown: dict[str, None] = {}
    for mark in match.marks:
        place = "title" if mark.start < title_end else "text"
        shown[f"“{' '.join(mark.text.split())[:80]}” ({place})"] = None
    words = list(shown)
    more = f" and {len(words) - _WORDS_SHOWN} more" if len(words) > _WORDS_SHOWN else ""
    what = f"matched {', '.join(words[:_WORDS_SHOWN])}{more}" if words else "matched by its fields alone"
    article = item.article
    return (
        f"Rule {match.rule.name} {what}: {article.source}, {moment(article.published_at)}, "
        f"p(negative) {item.scored.scores.negative:.2f}."
    )


def merged(old: Incident, one: Incident, *, tell: bool) -> Incident:
    """The open incident with one more story, given as :func:`opened` wrote it."""
    sources = tuple(sorted({*old.sources, *one.sources}))[:KEEP_SOURCES]
    stories = old.stories + 1
    return replace(
        old,
        observed=float(stories),
        stories=stories,
        updated_at=max(old.updated_at, one.updated_at),
        articles=tuple(dict.fromkeys((*old.articles, *one.articles)))[-KEEP_ARTICLES:],
        sources=sources,
        entities=tuple(dict.fromkeys((*one.entities, *old.entities)))[:12],
        evidence=pick((*old.evidence, *one.evidence)),
        reason=(
            f"{plural(stories, 'story').capitalize()} from {plural(len(sources), 'source')} since "
            f"{moment(old.opened_at)}. Latest: {one.reason}"
        ),
        model=one.model or old.model,
        revision=old.revision + 1 if tell else old.revision,
    )


def told(old: Incident) -> Incident:
    """People are to see what has come since they were last told."""
    return replace(old, revision=old.revision + 1)


def ended(old: Incident, at: datetime, why: str) -> Incident:
    """It is over."""
    return replace(
        old,
        state=IncidentState.RESOLVED,
        resolved_at=at,
        updated_at=max(old.updated_at, at),
        snoozed_until=None,
        reason=f"{old.reason} {why}",
        revision=old.revision + 1,
    )


def story_doc(before: Incident | None, one: Incident, *, tell: bool) -> dict[str, Any]:
    """What an incident was made from: a story."""
    doc = {"what": KIND, "did": "story", "story": incident_to_dict(one), "tell": tell}
    return doc | {"before": incident_to_dict(before)} if before is not None else doc


def told_doc(before: Incident) -> dict[str, Any]:
    """The same for :func:`told`."""
    return {"what": KIND, "did": "told", "before": incident_to_dict(before)}


def awake_doc(before: Incident, at: datetime) -> dict[str, Any]:
    """The same for the end of a snooze."""
    return {"what": KIND, "did": "awake", "before": incident_to_dict(before), "at": time_to_str(at)}


def ended_doc(before: Incident, at: datetime, why: str) -> dict[str, Any]:
    """The same for :func:`ended`."""
    return {"what": KIND, "did": "ended", "before": incident_to_dict(before), "at": time_to_str(at), "why": why}


def rebuilt(doc: Mapping[str, Any]) -> Incident:
    """The incident that such a document gives. Raises CodecError, KeyError, TypeError, ValueError."""
    did = doc["did"]
    if did == "story":
        one = incident_from_dict(doc["story"])
        return merged(incident_from_dict(doc["before"]), one, tell=bool(doc["tell"])) if "before" in doc else one
    before = incident_from_dict(doc["before"])
    if did == "told":
        return told(before)
    if did == "awake":
        return awake(before, time_from_str(doc["at"]))
    if did == "ended":
        return ended(before, time_from_str(doc["at"]), str(doc["why"]))
    raise CodecError(f"What a rule did ('{did}') is not known to this version.")
