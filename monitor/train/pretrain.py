"""Domain-adaptive pre-training (Gururangan et al. 2020): masked language modelling on unlabelled text."""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from monitor.core.errors import ConfigError, TrainError
from monitor.model.preprocess import Preprocessing
from monitor.train.batches import bucketed
from monitor.train.config import TrainConfig
from monitor.train.data import read_texts
from monitor.train.forward import collate, encode
from monitor.train.hub import loading
from monitor.train.losses import UNLABELLED
from monitor.train.optimiser import schedule
from monitor.train.sections import Pretrain

_MASKS = ("<mask>", "[MASK]")
DONE = "pretraining.json"


def masked(
    tokens: Tensor, maskable: Tensor, *, part: float, mask_id: int, vocabulary: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Tokens to read and tokens to guess (:data:`UNLABELLED` elsewhere), as BERT does (Devlin et al. 2019): of the
    ``part`` that is to be guessed 80 % are masked, 10 % random tokens, 10 % as they are."""
    chance = torch.rand(tokens.shape, generator=generator)
    chosen = (chance < part) & maskable
    targets = torch.where(chosen, tokens, torch.full_like(tokens, UNLABELLED))
    kind = torch.rand(tokens.shape, generator=generator)
    others = torch.randint(vocabulary, tokens.shape, generator=generator)
    read = torch.where(chosen & (kind < 0.8), torch.full_like(tokens, mask_id), tokens)
    return torch.where(chosen & (kind >= 0.8) & (kind < 0.9), others, read), targets


def mask_token(tokenizer: Tokenizer) -> int:
    """The id of the mask token. Raises ConfigError when the tokenizer has none."""
    for name in _MASKS:
        if (found := tokenizer.token_to_id(name)) is not None:
            return int(found)
    raise ConfigError("key 'pretrain': the encoder's tokenizer has no mask token (<mask> or [MASK]).")


def pretrain(
    settings: Pretrain,
    config: TrainConfig,
    *,
    source: str,
    tokenizer: Tokenizer,
    data: Path,
    out: Path,
    device: torch.device,
    report: Callable[[str], None],
) -> Path:
    """Pre-trains the encoder ``source`` on the recipe's unlabelled texts and writes it to ``out`` (an encoder folder);
    returns ``out``. What is there from the same recipe is taken as it is. Raises ConfigError or TrainError."""
    from transformers import AutoModelForMaskedLM

    print_ = config.fingerprint()
    if (out / DONE).is_file() and (out / DONE).read_text("utf-8").strip() == print_:
        report(f"pre-trained encoder taken from {out}")
        return out
    steps = Preprocessing(**config.preprocessing.model_dump())
    texts = [text for name in settings.texts for _, raw in read_texts(data / name) if (text := steps.text(raw))]
    if not texts:
        raise TrainError("key 'pretrain.texts': there are no texts.", hint=f"Files: {', '.join(settings.texts)}.")
    torch.manual_seed(config.seed)
    with loading(source):
        network = AutoModelForMaskedLM.from_pretrained(source, dtype=torch.float32, attn_implementation="sdpa")
    network.to(device)
    if settings.freeze_embeddings:
        network.get_input_embeddings().requires_grad_(False)
    ids = encode(tokenizer, steps, texts)
    special = {int(i) for i in tokenizer.encode("").ids}
    _fit(network, ids, special, settings, config, mask_token(tokenizer), device, report)
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    network.base_model.save_pretrained(part)
    tokenizer.save(str(part / "tokenizer.json"))
    (part / DONE).write_text(print_ + "\n", "utf-8")
    shutil.rmtree(out, ignore_errors=True)
    part.rename(out)
    return out


def _fit(
    network: nn.Module,
    ids: Sequence[list[int]],
    special: set[int],
    settings: Pretrain,
    config: TrainConfig,
    mask_id: int,
    device: torch.device,
    report: Callable[[str], None],
) -> None:
    plans = [
        bucketed([len(row) for row in ids], batch_tokens=settings.batch_tokens, rng=random.Random(f"{config.seed}/{e}"))
        for e in range(settings.epochs)
    ]
    optimizer = torch.optim.AdamW(
        [p for p in network.parameters() if p.requires_grad], lr=settings.learning_rate, weight_decay=0.01
    )
    generator = torch.Generator().manual_seed(config.seed)
    pad = int(network.config.pad_token_id or 0)  # type: ignore[union-attr, arg-type]
    vocabulary = int(network.config.vocab_size)  # type: ignore[union-attr, arg-type]
    fixed = torch.tensor(sorted(special))
    total, step = sum(map(len, plans)), 0
    network.train()
    for epoch, batches in enumerate(plans, start=1):
        losses: list[float] = []
        for batch in batches:
            tokens, mask = collate([ids[place] for place in batch], pad)
            maskable = (mask == 1) & ~torch.isin(tokens, fixed)
            read, targets = masked(
                tokens, maskable, part=settings.mask, mask_id=mask_id, vocabulary=vocabulary, generator=generator
            )
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * schedule(step, total=total, warmup=settings.warmup)
            step += 1
            if not (targets != UNLABELLED).any():
                continue
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.fit.bf16):
                logits = network(input_ids=read.to(device), attention_mask=mask.to(device)).logits
            loss = functional.cross_entropy(
                logits.float().flatten(0, 1), targets.to(device).flatten(), ignore_index=UNLABELLED
            )
            value = float(loss.detach())
            if not math.isfinite(value):
                raise TrainError(
                    f"The loss of pre-training became {value} at step {step} of {total}.",
                    hint="Lower pretrain.learning_rate or set fit.bf16 = false.",
                )
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            losses.append(value)
            if step % 50 == 0:
                report(f"pre-training step {step}/{total} loss {sum(losses[-50:]) / len(losses[-50:]):.4f}")
        mean = sum(losses) / max(1, len(losses))
        report(f"pre-training epoch {epoch}/{settings.epochs} done: loss {mean:.4f}")
