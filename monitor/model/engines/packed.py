"""A BERT encoder on texts laid end to end, without padding: what is computed is what was written.

All work on single tokens (98 % of the arithmetic at the length of headlines) runs on one row of all tokens. Attention
runs within each text: on CUDA through variable-length flash attention (``torch.nn.attention.varlen``, where torch has
it), elsewhere on queries, keys and values spread out to the longest text, with a mask. Equal to the padded network up
to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from monitor.model.network import MultiTaskNetwork

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Queries, keys, values [tokens, heads, width] → the same of what each token gathered from its own text."""


def fits(network: MultiTaskNetwork) -> bool:
    """True when :func:`forward` computes what the network does: a BERT encoder, pooled by mean or first token."""
    config: Any = network.encoder.config
    return (
        getattr(config, "model_type", "") == "bert"
        and not getattr(config, "is_decoder", False)
        and getattr(config, "position_embedding_type", None) in (None, "absolute")
        and network.pooling in ("mean", "cls")
    )


def forward(network: MultiTaskNetwork, batch: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, ...]:
    """Logits [texts, labels] per task, in the network's order. ``batch``: token ids, each at least one."""
    lengths = [len(row) for row in batch]
    ids = torch.tensor([token for row in batch for token in row], device=device)
    places = torch.cat([torch.arange(length) for length in lengths]).to(device)
    owner = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)).to(device)
    encoder: Any = network.encoder
    tables = encoder.embeddings
    states = tables.word_embeddings(ids) + tables.position_embeddings(places)
    states = tables.LayerNorm(states + tables.token_type_embeddings.weight[0])
    attend = _flash(lengths, device) or _spread(lengths, owner, places)
    for layer in encoder.encoder.layer:
        states = _layer(layer, states, attend, heads=int(encoder.config.num_attention_heads))
    if network.pooling == "cls":
        pooled = states[places == 0]
    else:
        sizes = torch.tensor(lengths, device=device, dtype=torch.float32).unsqueeze(1)
        sums = torch.zeros(len(lengths), states.shape[1], device=device, dtype=torch.float32)
        pooled = sums.index_add_(0, owner, states.float()) / sizes
    return tuple(head(pooled) for head in network.heads.values())


def _layer(layer: Any, states: Tensor, attend: Attend, *, heads: int) -> Tensor:
    own, out = layer.attention.self, layer.attention.output
    q, k, v = (part(states).unflatten(-1, (heads, -1)) for part in (own.query, own.key, own.value))
    states = out.LayerNorm(out.dense(attend(q, k, v).flatten(-2)) + states)
    return layer.output.LayerNorm(layer.output.dense(layer.intermediate(states)) + states)  # type: ignore[no-any-return]


def _flash(lengths: Sequence[int], device: torch.device) -> Attend | None:
    """Variable-length flash attention; None where there is none."""
    if device.type != "cuda":
        return None
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    ends = functional.pad(torch.tensor(lengths, dtype=torch.int32).cumsum(0, dtype=torch.int32), (1, 0)).to(device)
    longest = max(lengths)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        half = [x.bfloat16().contiguous() for x in (q, k, v)]
        found: Any = varlen_attn(half[0], half[1], half[2], ends, ends, longest, longest)
        return cast("Tensor", found.to(q.dtype))

    return attend


def _spread(lengths: Sequence[int], owner: Tensor, places: Tensor) -> Attend:
    texts, longest = len(lengths), max(lengths)
    real = torch.zeros(texts, longest, dtype=torch.bool, device=owner.device)
    real[owner, places] = True
    mask = None if bool(real.all()) else real[:, None, None, :]

    def wide(x: Tensor) -> Tensor:
        room = x.new_zeros(texts, longest, *x.shape[1:])
        room[owner, places] = x
        return room.transpose(1, 2)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        found = functional.scaled_dot_product_attention(wide(q), wide(k), wide(v), attn_mask=mask)
        return found.transpose(1, 2)[owner, places]

    return attend
