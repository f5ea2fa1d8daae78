"""Adapters, dropped layers, distillation and pre-training: each does what its name says, on the tiny network."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
import tiny_model  # noqa: E402
from trainer_tools import same_weights, tiny_config, tiny_network, tiny_trainer  # noqa: E402

from monitor.core.errors import ConfigError, TrainError  # noqa: E402
from monitor.model import network as networks  # noqa: E402
from monitor.model.network import MultiTaskNetwork  # noqa: E402
from monitor.train.adapters import attach, merge  # noqa: E402
from monitor.train.config import TrainConfig, load_config  # noqa: E402
from monitor.train.data import Example, load_data, read_texts  # noqa: E402
from monitor.train.distil import ensemble, softened, taught  # noqa: E402
from monitor.train.hub import loading  # noqa: E402
from monitor.train.layers import drop_layers, evenly  # noqa: E402
from monitor.train.losses import UNLABELLED, TaskLosses, distilled  # noqa: E402
from monitor.train.pretrain import masked, pretrain  # noqa: E402
from monitor.train.run import load_tokenizer  # noqa: E402
from monitor.train.sections import Adapter, Pretrain  # noqa: E402

TOKENS, MASK = torch.tensor([[0, 7, 8, 9, 2]]), torch.ones(1, 5, dtype=torch.long)
CPU = torch.device("cpu")


def _with(**changes: object) -> TrainConfig:
    return TrainConfig.model_validate(tiny_config(epochs=1).model_dump() | changes)


def _logits(network: MultiTaskNetwork) -> torch.Tensor:
    network.eval()
    with torch.no_grad():
        return torch.cat(network(TOKENS, MASK), dim=1)


@pytest.mark.parametrize("method", ["lora", "adalora"])
def test_merged_weights_equal_the_adapted_forward_and_the_network_is_a_plain_one_again(method: str) -> None:
    pytest.importorskip("peft")
    settings = Adapter(method=method, rank=2)  # type: ignore[arg-type]
    config = _with(adapter=settings.model_dump())
    network = tiny_network(config)
    plain = {name: value.clone() for name, value in network.state_dict().items()}
    before = _logits(network)
    adapters = attach(network, settings)
    learning = {name for name, p in network.named_parameters() if p.requires_grad}
    assert all(name.startswith("heads.") or "lora_" in name for name in learning)
    trainer = tiny_trainer(config, network=network, adapters=adapters)
    trainer.run()
    adapted = _logits(network)
    assert not torch.allclose(adapted, before, atol=1e-3)
    merge(network, settings)
    assert torch.allclose(_logits(network), adapted, atol=1e-4)
    assert network.state_dict().keys() == plain.keys()
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, plain[name])}
    assert any("query.weight" in name for name in changed)
    assert not any("embeddings" in name or "LayerNorm" in name for name in changed)


def test_adalora_cuts_singular_values_down_to_its_budget() -> None:
    pytest.importorskip("peft")
    settings = Adapter(method="adalora", rank=2, first_rank=6, targets=["query", "value"])
    config = _with(adapter=settings.model_dump())
    network = tiny_network(config)
    adapters = attach(network, settings)
    penalty = adapters.penalty()
    assert penalty is not None
    assert penalty.item() > 0
    tiny_trainer(config, network=network, adapters=adapters).run()
    values = [p for name, p in network.named_parameters() if "lora_E" in name]
    assert sum(v.numel() for v in values) == 4 * 6
    assert sum(int((v != 0).sum()) for v in values) <= 4 * 2


def test_targets_choose_the_layers_and_unknown_ones_are_refused() -> None:
    pytest.importorskip("peft")
    network = tiny_network(tiny_config())
    attach(network, Adapter(method="lora", targets=["query"]))
    touched = {name.split(".lora_")[0].rsplit(".", 1)[-1] for name, _ in network.named_parameters() if "lora_" in name}
    assert touched == {"query"}
    with pytest.raises(ConfigError, match=r"no layer is called c_attn.*query"):
        attach(tiny_network(tiny_config()), Adapter(method="lora", targets=["c_attn"]))


def test_bottlenecks_start_as_nothing_learn_alone_and_are_built_again_from_the_configuration() -> None:
    settings = Adapter(method="bottleneck", bottleneck=4)
    config = _with(adapter=settings.model_dump())
    network = tiny_network(config)
    before = _logits(network)
    adapters = attach(network, settings)
    assert torch.equal(_logits(network), before)
    learning = {name for name, p in network.named_parameters() if p.requires_grad}
    assert all(name.startswith("heads.") or ".down." in name or ".up." in name for name in learning)
    tiny_trainer(config, network=network, adapters=adapters).run()
    merge(network, settings)
    after = _logits(network)
    assert not torch.allclose(after, before, atol=1e-3)
    sizes = {name: len(task.labels) for name, task in config.tasks.items()}
    saved = json.loads(json.dumps(networks.encoder_config(network), default=str))
    again = networks.build(saved, tasks=sizes, pooling="mean")
    again.load_state_dict(network.state_dict())
    assert torch.allclose(_logits(again), after, atol=1e-6)


def test_prefix_tuning_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(tiny_model.RECIPE + '\n[adapter]\nmethod = "prefix"\n', "utf-8")
    with pytest.raises(ConfigError, match=r"adapter\.method.*cannot be merged.*lora"):
        load_config(path)


def test_six_of_twelve_layers_are_spread_evenly_with_first_and_last() -> None:
    assert evenly(12, 6) == [0, 2, 4, 6, 8, 11]
    assert evenly(12, 12) == list(range(12))
    assert (evenly(12, 1), evenly(12, 2)) == ([11], [0, 11])


def test_the_layers_that_are_kept_are_the_right_ones() -> None:
    network = tiny_network(tiny_config())
    state = {name: value.clone() for name, value in network.state_dict().items()}
    assert drop_layers(network, chosen=[1]) == [1]
    marks = ("encoder.encoder.layer.0.", "encoder.encoder.layer.1.")
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[name.replace(*marks)])
    assert networks.encoder_config(network)["num_hidden_layers"] == 1
    for wrong in ({"keep": 3}, {"chosen": [2]}, {"chosen": [0, 0]}):
        with pytest.raises(ConfigError, match="layers 0 to 1"):
            drop_layers(tiny_network(tiny_config()), **wrong)  # type: ignore[arg-type]


def test_the_mean_of_the_teachers_counts_over_those_that_know_the_task() -> None:
    one, two = np.array([[1.0, 0.0]], dtype=np.float32), np.array([[0.5, 0.5]], dtype=np.float32)
    means = ensemble([{"a": one, "b": one}, {"a": two}])
    assert means["a"].tolist() == [[0.75, 0.25]]
    assert means["b"].tolist() == [[1.0, 0.0]]
    logits = np.array([[2.0, 0.0]], dtype=np.float32)
    assert softened(logits, 2.0)[0, 0] == pytest.approx(1 / (1 + np.exp(-1.0)))


def test_the_distillation_loss_is_nought_where_the_student_agrees_and_pulls_it_to_the_teacher() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.3, 0.2, 0.1]], requires_grad=True)
    agree = tuple(torch.softmax(logits[0] / 2, 0).tolist())
    batch = [
        Example(text="a", labels={}, source="s", row=1, group="a", teacher={"sentiment": agree}),
        Example(text="b", labels={}, source="s", row=2, group="b"),
    ]
    assert distilled(logits, batch, "sentiment", 2.0).item() == pytest.approx(0.0, abs=1e-5)
    wanted = (0.1, 0.2, 0.7)
    batch[0] = Example(text="a", labels={}, source="s", row=1, group="a", teacher={"sentiment": wanted})
    (gradient,) = torch.autograd.grad(distilled(logits, batch, "sentiment", 2.0), logits)
    # T^2 * (q - p) / T
    assert gradient[0].tolist() == pytest.approx([2 * (q - p) for q, p in zip(agree, wanted, strict=True)], abs=1e-5)
    assert gradient[1].abs().max() == 0
    config = _with(distill={"teachers": ["x"], "weight": 0.25})
    labelled = [Example(text="a", labels={"sentiment": 1}, source="s", row=1, group="a", teacher={"sentiment": wanted})]
    losses = TaskLosses(config, [])
    both = losses([torch.zeros(1, 3), logits[:1]], labelled, 1).item()
    hard = torch.nn.functional.cross_entropy(logits[:1], torch.tensor([1]), label_smoothing=0.02).item()
    soft = distilled(logits[:1], labelled, "sentiment", 2.0).item()
    assert both == pytest.approx(0.75 * hard + 0.25 * soft, rel=1e-5)


def test_teachers_of_either_kind_answer_for_training_texts_and_unlabelled_ones(tmp_path: Path) -> None:
    where = tiny_model.folder()
    config = _with(
        distill={
            "teachers": [str(tiny_model.artefact()), str(tmp_path / "t.pt")],
            "texts": [str(tmp_path / "more.txt")],
        }
    )
    parts, _ = load_data(config, where)
    stolen = parts["test"][0].text
    (tmp_path / "more.txt").write_text(f"Acme sinks on fraud\n\n{stolen}\nAcme sinks, on fraud!\n", "utf-8")
    teacher = tiny_network(config)
    torch.save(teacher.state_dict(), tmp_path / "t.pt")
    encoder = str(where / "encoder")
    found = taught(
        parts["train"],
        config,
        folder=where,
        encoder=encoder,
        tokenizer=load_tokenizer(encoder, 48),
        pad=1,
        device=CPU,
        held=parts["test"],
    )
    more = found[len(parts["train"]) :]
    assert [(ex.text, ex.labels, ex.source) for ex in more] == [("Acme sinks on fraud", {}, "unlabelled")]
    assert [ex.labels for ex in found[:-1]] == [ex.labels for ex in parts["train"]]
    for example in (found[0], more[0]):
        assert {task: len(p) for task, p in example.teacher.items()} == {"topic": 3, "sentiment": 3}
        assert all(sum(p) == pytest.approx(1.0, abs=1e-4) for p in example.teacher.values())
    trainer = tiny_trainer(config)
    trainer.examples = found
    assert "unlabelled" in {ex.source for ex, _ in trainer._plan(0)[0]}


def test_masking_follows_bert_and_never_touches_special_tokens() -> None:
    tokens = torch.full((200, 100), 7)
    maskable = torch.ones_like(tokens, dtype=torch.bool)
    maskable[:, 0] = False
    read, targets = masked(
        tokens, maskable, part=0.2, mask_id=3, vocabulary=50, generator=torch.Generator().manual_seed(1)
    )
    chosen = targets != UNLABELLED
    assert not chosen[:, 0].any()
    assert (read[:, 0] == 7).all()
    assert (targets[chosen] == 7).all()
    assert chosen[:, 1:].float().mean().item() == pytest.approx(0.2, abs=0.01)
    assert (read[chosen] == 3).float().mean().item() == pytest.approx(0.8 + 0.1 / 50, abs=0.02)
    assert (read[chosen] == 7).float().mean().item() == pytest.approx(0.1 + 0.1 / 50, abs=0.02)
    assert (read[~chosen] == 7).all()


def _maskable_encoder(folder: Path) -> str:
    from tokenizers import Tokenizer

    source = tiny_model.folder() / "encoder"
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((source / name).read_bytes())
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    data = json.loads(tokenizer.to_str())
    word = next(w for w, i in data["model"]["vocab"].items() if i == 5)
    data["model"]["vocab"] = {("<mask>" if w == word else w): i for w, i in data["model"]["vocab"].items()}
    (folder / "tokenizer.json").write_text(json.dumps(data), "utf-8")
    return str(folder)


def test_pre_training_lowers_its_loss_and_gives_an_encoder_to_train_on(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    encoder = _maskable_encoder(source)
    config = _with(pretrain={"texts": ["t.txt"], "epochs": 3, "batch_tokens": 256, "learning_rate": 5e-3})
    with (tiny_model.folder() / "topic.csv").open(encoding="utf-8") as file:
        (tmp_path / "t.txt").write_text("\n".join(row["text"] for row in csv.DictReader(file)), "utf-8")
    assert config.pretrain is not None
    lines: list[str] = []

    def go(settings: Pretrain) -> Path:
        return pretrain(
            settings,
            config,
            source=encoder,
            tokenizer=load_tokenizer(encoder, 48),
            data=tmp_path,
            out=tmp_path / "encoder",
            device=CPU,
            report=lines.append,
        )

    out = go(config.pretrain)
    losses = [float(line.rsplit(" ", 1)[1]) for line in lines]
    assert losses[-1] < losses[0] - 0.3
    sizes = {"topic": 3}
    before = networks.from_pretrained(encoder, tasks=sizes, pooling="mean").encoder
    after = networks.from_pretrained(str(out), tasks=sizes, pooling="mean").encoder
    assert not same_weights(before, after)
    assert load_tokenizer(str(out), 48).encode("Acme").ids == load_tokenizer(encoder, 48).encode("Acme").ids
    go(config.pretrain)
    assert "taken from" in lines[-1]
    with pytest.raises(ConfigError, match="no mask token"):
        pretrain(
            config.pretrain,
            config,
            source=str(tiny_model.folder() / "encoder"),
            tokenizer=load_tokenizer(str(tiny_model.folder() / "encoder"), 48),
            data=tmp_path,
            out=tmp_path / "other",
            device=CPU,
            report=lines.append,
        )


def test_unlabelled_texts_come_from_lines_and_columns(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\n two \n", "utf-8")
    (tmp_path / "b.csv").write_text("text,other\none,1\n,2\n", "utf-8")
    (tmp_path / "c.jsonl").write_text('{"text": "one"}\n', "utf-8")
    assert [(row, text.strip()) for row, text in read_texts(tmp_path / "a.txt")] == [(1, "one"), (3, "two")]
    assert list(read_texts(tmp_path / "b.csv")) == [(2, "one")]
    assert list(read_texts(tmp_path / "c.jsonl")) == [(1, "one")]
    with pytest.raises(TrainError, match=r"none\.txt: cannot be read"):
        list(read_texts(tmp_path / "none.txt"))


def test_an_interrupted_download_is_told_from_a_wrong_name(tmp_path: Path) -> None:
    source = tiny_model.folder() / "encoder"
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    whole = (source / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match=r"interrupted download"), loading(str(tmp_path)):
        networks.from_pretrained(str(tmp_path), tasks={"topic": 3}, pooling="mean")
    with pytest.raises(ConfigError, match=r"cannot be loaded"), loading(str(tmp_path / "none")):
        networks.from_pretrained(str(tmp_path / "none"), tasks={"topic": 3}, pooling="mean")
    errors = pytest.importorskip("huggingface_hub.errors")
    broken = errors.HTTPError("peer closed connection without sending complete message body")
    with pytest.raises(ConfigError, match=r"interrupted download"), loading("some/model"):
        raise broken


def test_the_whole_way_of_a_recipe_that_asks_for_them(tmp_path: Path) -> None:
    """Pre-training, layers dropped, attention pooling, bottlenecks, a teacher; then both engines."""
    pytest.importorskip("onnxscript")
    from monitor.model.artefact import Artefact
    from monitor.model.engines.onnx import OnnxEngine
    from monitor.model.engines.torch import TorchEngine
    from monitor.train.run import train

    where, source = tiny_model.folder(), tmp_path / "source"
    source.mkdir()
    encoder = _maskable_encoder(source)
    (tmp_path / "t.txt").write_text("Acme sinks on fraud\nOil supply falls\n", "utf-8")
    torch.save(tiny_network(tiny_config()).state_dict(), tmp_path / "teacher.pt")
    config = _with(
        pooling="attention",
        keep_layers=1,
        adapter={"method": "bottleneck", "bottleneck": 8},
        pretrain={"texts": [str(tmp_path / "t.txt")]},
        distill={"teachers": [str(tmp_path / "teacher.pt")], "weight": 0.2},
        early_stopping={"monitor": ["topic/accuracy"]},
    )
    lines: list[str] = []
    out = train(config, data=where, encoder=encoder, out=tmp_path / "out", threads=1, report=lines.append)
    artefact = Artefact.load(out)
    assert (artefact.pooling, artefact.encoder["num_hidden_layers"]) == ("attention", 1)
    assert artefact.encoder["bottleneck_adapter"] == 8
    assert "layers kept: 1" in lines
    ids = [[0, 7, 8, 9, 2], [0, 11, 2]]
    one, two = OnnxEngine(artefact).logits(ids), TorchEngine(artefact).logits(ids)
    for task, rows in one.items():
        assert np.abs(rows - two[task]).max() < 0.1
