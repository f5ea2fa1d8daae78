"""A tiny model of the packaged model's shape, made through the real training path in seconds: for tests."""

from __future__ import annotations

import csv
import functools
import json
import random
import tempfile
from pathlib import Path

RECIPE = """
name = "tiny"
encoder = "encoder"
seed = 3
languages = ["en", "zh"]

[preprocessing]
prefix = "query: "
max_tokens = 48

[split]
calibration = 0.15
test = 0.2

[augment]
drop_cashtags = 0.3

[fit]
epochs = 8
batch_tokens = 256
learning_rate = 3e-3
head_learning_rate = 1e-2
layer_decay = 0.9
label_smoothing = 0.02
bf16 = false

[[data]]
path = "topic.csv"
labels = { topic = "label" }

[[data]]
path = "sentiment.csv"
labels = { sentiment = "label" }

[[data]]
path = "entities.jsonl"
labels = { sentiment = "entities" }
agree = true
share = 0.5

[tasks.topic.labels]
earnings = { en = "Earnings", zh = "业绩" }
energy_oil = { en = "Energy and oil", zh = "能源与石油" }
fed_central_banks = { en = "Fed and central banks", zh = "美联储与央行" }

[tasks.sentiment.labels]
negative = { en = "Negative", zh = "负面" }
neutral = { en = "Neutral", zh = "中性" }
positive = { en = "Positive", zh = "正面" }
"""

NOISE = 0.08
"""The part of rows whose label is drawn at random, so that there is something to calibrate."""
NAMES = ("Acme", "Borealis", "Cobalt", "Dunmore", "Elvane", "Fenwick", "Garrow", "Hallam", "江海", "北辰")
NEGATIVE = (
    "plunges after fraud probe",
    "warns of heavy losses",
    "defaults on its bonds",
    "暴跌 亏损 扩大",
    "cuts jobs, shares sink",
)
NEUTRAL = (
    "schedules its annual meeting",
    "moves its office",
    "公布 会议 日期",
    "names a new auditor",
    "holds a call on Monday",
)
POSITIVE = (
    "surges to a record high",
    "wins a large order",
    "raises its dividend",
    "大涨 利润 增长",
    "beats on strong demand",
)
TOPICS = {
    "Earnings": ("quarterly profit", "revenue and earnings", "季度 业绩", "margin outlook"),
    "Energy | Oil": ("crude oil supply", "OPEC output quota", "原油 价格", "gas pipeline flows"),
    "Fed | Central Banks": ("Fed rate decision", "ECB policy minutes", "央行 利率", "Powell speech on inflation"),
}


def write_data(folder: Path) -> None:
    """Three small data sets that a tiny network can learn."""
    rng = random.Random(5)
    with (folder / "topic.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for label, phrases in TOPICS.items():
            for _ in range(45):
                tag = "$ACM " if rng.random() < 0.3 else ""
                given = rng.choice(sorted(TOPICS)) if rng.random() < NOISE else label
                writer.writerow([f"{tag}{rng.choice(NAMES)} {rng.choice(phrases)} {rng.randrange(900)}", given])
    moods = {"negative": NEGATIVE, "neutral": NEUTRAL, "positive": POSITIVE}
    with (folder / "sentiment.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for label, phrases in moods.items():
            for _ in range(45):
                given = rng.choice(sorted(moods)) if rng.random() < NOISE else label
                writer.writerow([f"{rng.choice(NAMES)} {rng.choice(phrases)} {rng.randrange(900)}", given])
    with (folder / "entities.jsonl").open("w", encoding="utf-8") as file:
        for number in range(60):
            label = rng.choice(sorted(moods))
            other = label if number % 6 else "neutral" if label != "neutral" else "positive"
            row = {
                "text": f"{rng.choice(NAMES)} {rng.choice(moods[label])} as {rng.choice(NAMES)} waits {number}",
                "entities": {"one": label, "two": other},
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def write_encoder(folder: Path) -> None:
    """A randomly initialised two-layer BERT with its own tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertModel

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    texts = [
        *NAMES,
        *NEGATIVE,
        *NEUTRAL,
        *POSITIVE,
        *(p for phrases in TOPICS.values() for p in phrases),
        "query: 0123",
    ]
    tokenizer.train_from_iterator(texts, trainers.WordPieceTrainer(vocab_size=600, special_tokens=special))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        pad_token_id=1,
    )
    BertModel(config).save_pretrained(folder)


@functools.cache
def folder() -> Path:
    """Encoder, data and recipe (``recipe.toml``), made once per process."""
    where = Path(_keep().name)
    write_data(where)
    write_encoder(where / "encoder")
    (where / "recipe.toml").write_text(RECIPE, "utf-8")
    return where


@functools.cache
def artefact() -> Path:
    """The trained artefact, made once per process; with float weights."""
    from monitor.train.config import load_config
    from monitor.train.run import train

    where = folder()
    return train(
        load_config(where / "recipe.toml"),
        data=where,
        encoder=str(where / "encoder"),
        out=where / "out",
        baseline=True,
        threads=1,
    )


@functools.cache
def _keep() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="riskwire-tiny-")
