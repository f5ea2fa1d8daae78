"""Which articles are worth a person's time: the uncertain, the disputed, and a random few to measure by."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from monitor.core.ids import digest
from monitor.core.types import ScoredArticle, Scores
from monitor.model.preprocess import group_key

UNCERTAIN, STORY, RESCORED, RANDOM = "uncertain", "disputed_in_story", "disputed_by_model", "random"
READER = "disputed_by_reader"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An article offered for labelling. ``text``: as the model reads it. ``urgency``: among its reason, most first."""

    item: ScoredArticle
    text: str
    scores: Scores
    model: str
    reason: str = ""
    urgency: float = 0.0

    @property
    def group(self) -> str:
        """The normalised text."""
        return group_key(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How many: in all, at most of a predicted topic, at most of a language; ``random``: the part drawn from all."""

    limit: int = 200
    per_topic: int = 0
    per_language: int = 0
    random: float = 0.1
    below: float = 0.6
    """A top probability under this is uncertain."""


def uncertainty(scores: Scores, below: float) -> float:
    """How far the less sure of the two verdicts lies under ``below``; 0 when neither does."""
    return max(0.0, *(below - max(table.values()) for table in (scores.topics, scores.sentiments)))


def choose(
    items: Iterable[Candidate],
    *,
    quota: Quota,
    story_of: Callable[[ScoredArticle], str] = lambda item: "",
    labelled: frozenset[str] = frozenset(),
    seed: int = 0,
    readers: Mapping[str, int] | None = None,
) -> list[Candidate]:
    """The articles to label, the reasons in turn. Texts in ``labelled`` (normalised) and repeated ones are left out.

    ``readers`` counts by article id how many people said that its label is wrong or that it is not relevant.
    ``story_of`` names the story of an article, "" for none; its copies are told apart before copies are dropped.
    """
    texts: dict[str, Candidate] = {}
    verdicts: dict[str, set[tuple[str, str]]] = defaultdict(set)
    stories: dict[str, str] = {}
    disputed: Counter[str] = Counter()
    for candidate in items:
        disputed[candidate.group] += (readers or {}).get(candidate.item.article.id, 0)
        story = story_of(candidate.item)
        if story:
            verdicts[story].add((candidate.scores.topic, candidate.scores.sentiment))
        if candidate.group and candidate.group not in labelled and candidate.group not in texts:
            texts[candidate.group] = candidate
            stories[candidate.group] = story
    reasons: dict[str, list[Candidate]] = {READER: [], STORY: [], RESCORED: [], UNCERTAIN: []}
    for group, candidate in texts.items():
        given = candidate.item.scored.scores
        doubt = uncertainty(candidate.scores, quota.below)
        if disputed[group]:
            reasons[READER].append(replace(candidate, reason=READER, urgency=disputed[group] + doubt))
        elif len(verdicts[stories[group]]) > 1 if stories[group] else False:
            reasons[STORY].append(replace(candidate, reason=STORY, urgency=len(verdicts[stories[group]]) + doubt))
        elif (candidate.scores.topic, candidate.scores.sentiment) != (given.topic, given.sentiment):
            gap = abs(candidate.scores.negative - given.negative)
            reasons[RESCORED].append(replace(candidate, reason=RESCORED, urgency=gap))
        elif doubt > 0 or set(candidate.item.scored.doubts) & {"topic", "sentiment"}:
            reasons[UNCERTAIN].append(replace(candidate, reason=UNCERTAIN, urgency=doubt))
    # By hash: the same articles at every call, and independent of what else was found.
    at_random = sorted(texts.values(), key=lambda c: digest("random", str(seed), c.item.article.id))
    picked = _take(at_random, round(quota.limit * quota.random), quota, [])
    chosen = [replace(candidate, reason=RANDOM) for candidate in picked]
    ranked = [sorted(found, key=lambda c: (-c.urgency, c.item.article.id)) for found in reasons.values()]
    return _take(_in_turn(ranked), quota.limit, quota, chosen)


def _in_turn(queues: Sequence[Sequence[Candidate]]) -> list[Candidate]:
    longest = max(map(len, queues), default=0)
    return [queue[place] for place in range(longest) for queue in queues if place < len(queue)]


def _take(queue: Iterable[Candidate], limit: int, quota: Quota, chosen: Sequence[Candidate]) -> list[Candidate]:
    taken = list(chosen)
    seen = {candidate.group for candidate in taken}
    topics = Counter(candidate.scores.topic for candidate in taken)
    languages = Counter(candidate.item.article.lang for candidate in taken)
    for candidate in queue:
        if len(taken) >= limit:
            break
        topic, lang = candidate.scores.topic, candidate.item.article.lang
        full = (quota.per_topic and topics[topic] >= quota.per_topic) or (
            quota.per_language and languages[lang] >= quota.per_language
        )
        if full or candidate.group in seen:
            continue
        seen.add(candidate.group)
        topics[topic] += 1
        languages[lang] += 1
        taken.append(candidate)
    return taken
