"""What rules cost: seconds of one core for each article, by how many rules there are and how long the text is.

    python benchmarks/rules.py [--titles FILE] [--rules 10,100,1000] [--body 0,3000] [--articles N] [--rate R]

The rules are made of words of the titles themselves (a CSV with a column ``title``, .gz or not; without ``--titles``
words are drawn by Zipf's law from a vocabulary of made-up words), in four kinds:

- common: two words out of the whole vocabulary as it is spoken, joined by AND. Many match: the worst case.
- mixed: as people write them: a phrase or a beginning of a word out of the rarer half of the words, OR three
  alternatives, near another word or above a probability. Few match.
- fields: a word near an entity, and a topic.
- expressions: nothing but an expression, so that each is asked of every article.

The articles are the titles, with bodies of further titles up to ``--body`` characters. Loading is not measured. CPU
time of this thread is; the share of a core is that at ``--rate`` articles a second. Nothing leaves the machine.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import itertools
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from alerts.rules.engine import RuleSet
from alerts.rules.parser import parse
from alerts.rules.rule import Rule
from monitor.core.types import Article, EntityMention, Scored, ScoredArticle, Scores

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
_WORD = re.compile(r"[a-z]{3,}")
_TOPICS = ("markets", "macro", "energy_oil", "financials")
_RESERVED = {"and", "not", "near"}

Queries = Callable[[random.Random, Sequence[str], Counter[str]], str]


def titles_of(path: Path | None, count: int, dice: random.Random) -> list[str]:
    """Real titles of a CSV, evenly out of the whole file, or made-up ones."""
    if path is None:
        syllables = [a + b for a in "bcdfghklmnprstvz" for b in "aeiou"]
        vocabulary = ["".join(dice.choices(syllables, k=dice.randint(2, 4))) for _ in range(20_000)]
        weights = list(itertools.accumulate(1.0 / rank for rank in range(1, len(vocabulary) + 1)))
        return [" ".join(dice.choices(vocabulary, cum_weights=weights, k=dice.randint(6, 13))) for _ in range(count)]
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        found = [row["title"] for row in csv.DictReader(file) if row["title"].strip()]
    return dice.sample(found, min(count, len(found)))


def common(dice: random.Random, spoken: Sequence[str], counts: Counter[str]) -> str:
    """Two words as they are spoken."""
    return f"{dice.choice(spoken)} AND {dice.choice(spoken)}"


def mixed(dice: random.Random, spoken: Sequence[str], counts: Counter[str]) -> str:
    """As people write rules: rarer words, alternatives, distance, probability."""
    rare = [word for word in dice.choices(spoken, k=60) if counts[word] <= 40] or list(spoken[:4])
    one, two, three, four = (rare * 4)[:4]
    shape = dice.randrange(4)
    if shape == 0:
        return f'"{one} {two}" OR {three}* OR {four}'
    if shape == 1:
        return f"({one} OR {two}*) NEAR/8 {dice.choice(spoken)} AND negative>=0.6"
    if shape == 2:
        return f"({one} OR {two} OR {three}) AND negative>=0.9"
    return f"({one}* OR {two}*) AND NOT {dice.choice(spoken)}"


def fields(dice: random.Random, spoken: Sequence[str], counts: Counter[str]) -> str:
    """A word near one of fifty entities, a topic."""
    return f"{dice.choice(spoken)} NEAR/8 entity:e{dice.randrange(50)} AND topic:{dice.choice(_TOPICS)}"


def expressions(dice: random.Random, spoken: Sequence[str], counts: Counter[str]) -> str:
    """Nothing but an expression."""
    return rf"/\b{dice.choice(spoken)}\w* [0-9.,]+ ?(?:m|bn|pct)\b/"


KINDS: dict[str, Queries] = {"common": common, "mixed": mixed, "fields": fields, "expressions": expressions}


def articles(titles: Sequence[str], body: int, count: int, dice: random.Random) -> list[ScoredArticle]:
    """``count`` titles with bodies of about ``body`` characters, scored at random."""
    found = []
    for number, title in enumerate(itertools.islice(itertools.cycle(titles), count)):
        text = ""
        while len(text) < body:
            text += f"{dice.choice(titles)}. "
        item = Article(
            id=f"a{number}", source="wire", title=title, body=text[:body], lang="en", published_at=NOW, fetched_at=NOW
        )
        negative = dice.random()
        scored = Scored(
            article_id=item.id,
            model="m",
            scores=Scores(
                topics={dice.choice(_TOPICS): 0.9, "other": 0.1},
                sentiments={"negative": negative, "neutral": 1 - negative, "positive": 0.0},
            ),
            entities=(EntityMention(id=f"e{dice.randrange(50)}", name="E", start=0, end=min(4, len(title))),),
            scored_at=NOW,
        )
        found.append(ScoredArticle(article=item, scored=scored))
    return found


def measure(rules: RuleSet, items: Sequence[ScoredArticle]) -> tuple[float, float]:
    """Milliseconds and matches for each article."""
    for item in items[:50]:  # tables that are filled as characters come
        rules.match(item)
    began, matches = time.thread_time(), 0
    for item in items:
        matches += len(rules.match(item))
    return 1000 * (time.thread_time() - began) / len(items), matches / len(items)


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--titles", type=Path, default=None)
    parser.add_argument("--rules", default="10,100,1000")
    parser.add_argument("--body", default="0,3000")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--articles", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=100.0, help="articles a second")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    dice = random.Random(options.seed)
    titles = titles_of(options.titles, 20_000, dice)
    spoken = [word for title in titles for word in _WORD.findall(title.lower()) if word not in _RESERVED]
    counts = Counter(spoken)
    table = Table("rules", "body", "rules of kind", "matches", "ms", f"of a core at {options.rate:g}/s")
    for body in map(int, options.body.split(",")):
        items = articles(titles, body, options.articles, random.Random(options.seed))
        for kind in options.kinds.split(","):
            for count in map(int, options.rules.split(",")):
                draw = random.Random(options.seed)
                made = RuleSet(Rule(name=f"r{n}", query=parse(KINDS[kind](draw, spoken, counts))) for n in range(count))
                milliseconds, matches = measure(made, items)
                share = f"{milliseconds * options.rate / 10:.1f} %"
                table.add_row(f"{count:,}", f"{body:,}", kind, f"{matches:.2f}", f"{milliseconds:.3f}", share)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
