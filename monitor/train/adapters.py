"""Parameter-efficient training: the encoder stays as it is, small additions learn.

LoRA and AdaLoRA come from ``peft`` and are merged into the weights before export, so that the artefact is as fast as
any. Bottleneck adapters (Houlsby et al. 2019), which peft does not have, are ours (:mod:`monitor.model.network`): they
cannot be merged, but belong to the artefact's network. Prefix tuning can neither be merged nor be part of an artefact.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from monitor.core.errors import ConfigError
from monitor.model.network import MultiTaskNetwork, add_bottlenecks
from monitor.train.optimiser import encoder_layers
from monitor.train.sections import Adapter


class Adapters:
    """What AdaLoRA wants from the training loop; the other methods want nothing."""

    def __init__(self, tuner: Any = None) -> None:
        self._tuner = tuner

    def begin(self, total: int) -> None:
        """Sets when the budget of ranks falls: from a tenth to four fifths of all steps."""
        if self._tuner is not None:
            settings = self._tuner.peft_config["default"]
            settings.total_step, settings.tinit, settings.tfinal = total, total // 10, total // 5
            settings.deltaT = max(1, total // 100)

    def penalty(self) -> Tensor | None:
        """How far the singular vectors are from orthogonal (Zhang et al. 2023, eq. 4), with peft's factor."""
        if self._tuner is None:
            return None
        parts = []
        for name, value in self._tuner.model.named_parameters():
            if "lora_A" in name or "lora_B" in name:
                square = value @ value.T if "lora_A" in name else value.T @ value
                parts.append(torch.linalg.matrix_norm(square - torch.eye(len(square), device=value.device)))
        factor: float = self._tuner.peft_config["default"].orth_reg_weight
        return torch.stack(parts).mean() * factor

    def after_step(self, step: int) -> None:
        """Scores the singular values by the gradients of the step and cuts those beyond the budget."""
        if self._tuner is not None:
            self._tuner.update_and_allocate(step)

    def state(self) -> dict[str, Any]:
        """For the checkpoint."""
        if self._tuner is None:
            return {}
        ranks = self._tuner.rankallocator
        kept = {name: dict(getattr(ranks, name)) for name in ("ipt", "exp_avg_ipt", "exp_avg_unc")}
        return kept | {"rank_pattern": dict(self._tuner.peft_config["default"].rank_pattern or {})}

    def load(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        if self._tuner is None:
            return
        device = next(self._tuner.model.parameters()).device
        for name in ("ipt", "exp_avg_ipt", "exp_avg_unc"):
            setattr(self._tuner.rankallocator, name, {key: value.to(device) for key, value in state[name].items()})
        self._tuner.peft_config["default"].rank_pattern = state["rank_pattern"]


def attach(network: MultiTaskNetwork, settings: Adapter) -> Adapters:
    """Puts the adapters in and freezes the rest of the encoder. Raises ConfigError: unknown targets, no peft."""
    if settings.method == "bottleneck":
        for parameter in network.encoder.parameters():
            parameter.requires_grad_(False)
        add_bottlenecks(network.encoder, settings.bottleneck)
        return Adapters()
    try:
        import peft
    except ImportError as error:
        raise ConfigError("key 'adapter': peft is not installed.", hint="pip install 'riskwire[train]'") from error
    common: dict[str, Any] = {
        "lora_alpha": settings.alpha,
        "lora_dropout": settings.dropout,
        "target_modules": _targets(network, settings),
        "bias": "none",
    }
    # The tuners are put into the encoder rather than around it: it stays the class that it is.
    if settings.method == "lora":
        peft.inject_adapter_in_model(peft.LoraConfig(r=settings.rank, **common), network.encoder, "default")
        return Adapters()
    first = settings.first_rank or settings.rank * 3 // 2
    wanted = peft.AdaLoraConfig(target_r=settings.rank, init_r=first, total_step=10**9, **common)
    return Adapters(peft.AdaLoraModel(network.encoder, wanted, "default"))  # type: ignore[no-untyped-call]


def _targets(network: MultiTaskNetwork, settings: Adapter) -> list[str]:
    inside = {id(m) for layer in encoder_layers(network) for m in layer.modules() if isinstance(m, nn.Linear)}
    names = [name for name, module in network.encoder.named_modules() if id(module) in inside]
    if settings.targets:
        chosen = [n for n in names if any(n == end or n.endswith(f".{end}") for end in settings.targets)]
        if not chosen:
            raise ConfigError(
                f"key 'adapter.targets': no layer is called {', '.join(settings.targets)}.",
                hint=f"Layers end in, for example: {', '.join(sorted({n.rsplit('.', 1)[-1] for n in names}))}.",
            )
        return chosen
    return names


def merge(network: MultiTaskNetwork, settings: Adapter) -> None:
    """Adds what LoRA learned to the encoder's own weights and takes the adapters out; bottlenecks stay."""
    if settings.method == "bottleneck":
        return
    from peft.tuners.tuners_utils import BaseTunerLayer

    found = [(name, m) for name, m in network.encoder.named_modules() if isinstance(m, BaseTunerLayer)]
    for name, module in found:
        module.merge()
        parent, _, leaf = name.rpartition(".")
        setattr(network.encoder.get_submodule(parent), leaf, module.get_base_layer())
    for attribute in ("peft_config", "_hf_peft_config_loaded"):
        if attribute in vars(network.encoder):
            delattr(network.encoder, attribute)
    for parameter in network.encoder.parameters():
        parameter.requires_grad_(True)
