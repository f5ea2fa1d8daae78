"""Speed of the model on this machine: Riskwire's engines beside the usual ways to run the same weights.

    python benchmarks/inference.py [--texts FILE] [--ways a,b] [--engines a,b] [--seconds S] [--json FILE]

Every way answers both tasks for the same texts with the same weights and threads, from raw text, in turns in one run:
what else the machine does hits all alike, and ratios hold where absolute figures do not. Texts are lines of FILE or, by
default, composed ones. The arithmetic floor is what the matrices alone would take at the speed of the best int8 product
measured in the same turns. Peak memory is that of a process of its own for each way. Latency is from a Poisson arrival
to the score, through the scorer with its batches, nothing from its cache; arrivals do not wait for answers.
Ways: see WAYS; those whose libraries are missing are left out, with the reason.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from monitor.core.clock import SystemClock
from monitor.core.types import Article
from monitor.model.artefact import Artefact, locate
from monitor.model.batching import padding_ratio, plan_batches
from monitor.model.engines import choose_engine
from monitor.model.engines.base import TokenEngine, pad
from monitor.model.scorer import ModelScorer

PADDED, PADDED_BATCH, BATCH = 128, 16, 32
BASE = "torch, padded to 128 in 16s"


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to answer texts: ``run`` from raw text to logits, ``batches`` the texts of each batch by place (for the
    padding; each padded to ``width`` or to its longest)."""

    run: Callable[[Sequence[str]], object]
    batches: Callable[[Sequence[int]], list[list[int]]]
    width: int = 0


def in_order(size: int) -> Callable[[Sequence[int]], list[list[int]]]:
    """Batches of ``size`` in the order of arrival."""
    return lambda lengths: [list(range(i, min(i + size, len(lengths)))) for i in range(0, len(lengths), size)]


def prepared(artefact: Artefact, texts: Sequence[str]) -> list[str]:
    """Texts as the model reads them."""
    return [artefact.preprocessing.text(text) for text in texts]


def engine_way(artefact: Artefact, threads: int, name: str) -> Way:
    """One of Riskwire's engines, as the scorer uses it."""
    engine = choose_engine(artefact, name, threads=threads)
    return Way(
        run=lambda texts: engine.predict_tasks(prepared(artefact, texts)),
        batches=lambda lengths: plan_batches(lengths, engine.token_budget),
    )


def torch_engine(artefact: Artefact, threads: int) -> Any:
    """The artefact's network in torch on the CPU, float32."""
    from monitor.model.engines.torch import TorchEngine

    return TorchEngine(artefact, threads=threads, device="cpu")


def padded_way(artefact: Artefact, threads: int) -> Way:
    """torch, every text padded to a constant, in order."""
    import torch

    engine = torch_engine(artefact, threads)

    def run(texts: Sequence[str]) -> None:
        for start in range(0, len(texts), PADDED_BATCH):
            ids = engine.tokens(prepared(artefact, texts[start : start + PADDED_BATCH]))
            tokens = torch.full((len(ids), PADDED), artefact.pad_id)
            mask = torch.zeros((len(ids), PADDED), dtype=torch.long)
            for number, row in enumerate(ids):
                tokens[number, : len(row)] = torch.tensor(row)
                mask[number, : len(row)] = 1
            with torch.inference_mode():
                engine._network(tokens, mask)

    return Way(run=run, batches=in_order(PADDED_BATCH), width=PADDED)


def sorted_way(artefact: Artefact, threads: int) -> Way:
    """torch, sorted by characters, batches of 32 padded to their longest: as sentence-transformers does."""
    engine = torch_engine(artefact, threads)
    engine.packs = False

    def run(texts: Sequence[str]) -> None:
        order = sorted(texts, key=len, reverse=True)
        for start in range(0, len(order), BATCH):
            engine.logits(engine.tokens(prepared(artefact, order[start : start + BATCH])))

    # By tokens instead of characters: all but the same batches, and the kinder count.
    return Way(run=run, batches=lambda lengths: _sorted_batches(lengths))


def _sorted_batches(lengths: Sequence[int]) -> list[list[int]]:
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    return [order[i : i + BATCH] for i in range(0, len(order), BATCH)]


def pipeline_way(artefact: Artefact, threads: int, size: int) -> Way:
    """``transformers.pipeline("text-classification")`` with the artefact's weights; both heads in one output."""
    import torch
    import transformers
    from transformers.modeling_outputs import SequenceClassifierOutput

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity(50)  # as an error it lists every model that it knows
    engine = torch_engine(artefact, threads)
    labels = [f"{task}:{label}" for task, spec in artefact.tasks.items() for label in spec.labels]

    class Classifier(transformers.PreTrainedModel):  # type: ignore[misc]
        config_class = transformers.BertConfig
        _supports_sdpa = True

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.network = engine._network

        def forward(self, input_ids: Any, attention_mask: Any, **_: Any) -> Any:
            return SequenceClassifierOutput(logits=torch.cat(self.network(input_ids, attention_mask), dim=1))

    config = engine._network.encoder.config
    config.id2label, config.label2id = dict(enumerate(labels)), {label: i for i, label in enumerate(labels)}
    config.num_labels = len(labels)
    own = artefact.tokenizer()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=own,
        pad_token=own.id_to_token(artefact.pad_id),
        model_max_length=artefact.preprocessing.max_tokens,
        model_input_names=["input_ids", "attention_mask"],
    )
    pipe = transformers.pipeline("text-classification", model=Classifier(config).eval(), tokenizer=tokenizer, device=-1)

    def run(texts: Sequence[str]) -> object:
        read = [artefact.preprocessing.model_input(text) for text in prepared(artefact, texts)]
        return pipe(read, truncation=True) if size == 1 else pipe(read, batch_size=size, padding=True, truncation=True)

    return Way(run=run, batches=in_order(size))


def onnx_float_way(artefact: Artefact, threads: int) -> Way:
    """onnxruntime on the float32 graph, in the same batches as the int8 engine."""
    import onnxruntime

    from monitor.train.export import export_float

    engine = torch_engine(artefact, threads)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "float.onnx"
        export_float(engine._network, path, max_tokens=artefact.preprocessing.max_tokens)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(texts: Sequence[str]) -> None:
        ids = engine.tokens(prepared(artefact, texts))
        for batch in plan_batches([len(row) for row in ids], engine.token_budget):
            tokens, mask = pad([ids[i] for i in batch], artefact.pad_id)
            session.run(None, {"input_ids": tokens, "attention_mask": mask})

    return Way(run=run, batches=lambda lengths: plan_batches(lengths, engine.token_budget))


WAYS: dict[str, Callable[[Artefact, int], Way]] = {
    BASE: padded_way,
    "transformers.pipeline, defaults": lambda artefact, threads: pipeline_way(artefact, threads, 1),
    "transformers.pipeline, padded 32s": lambda artefact, threads: pipeline_way(artefact, threads, BATCH),
    "torch, sorted, padded 32s": sorted_way,
    "onnx float32, token budget": onnx_float_way,
}
"""What Riskwire is compared with. Its own engines are added by name."""


def gemm(threads: int) -> Callable[[], float]:
    """A function that gives 10⁹ operations a second of onnxruntime's int8 product [768, 384] x [384, 1536]."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    rows, inner, columns, times = 768, 384, 1536, 16
    rng = np.random.default_rng(1)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", f"w{i}"], [f"y{i}"]) for i in range(times)],
        "peak",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [rows, inner])],
        [helper.make_tensor_value_info(f"y{i}", TensorProto.INT32, [rows, columns]) for i in range(times)],
        [
            numpy_helper.from_array(rng.integers(-63, 64, (inner, columns)).astype(np.int8), f"w{i}")
            for i in range(times)
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    x = {"x": rng.integers(0, 256, (rows, inner)).astype(np.uint8)}
    session.run(None, x)

    def measure() -> float:
        best = float("inf")
        for _ in range(5):
            began = time.perf_counter()
            session.run(None, x)
            best = min(best, time.perf_counter() - began)
        return 2 * rows * inner * columns * times / best / 1e9

    return measure


def operations(artefact: Artefact) -> int:
    """Multiplications and additions of the encoder's matrices per token (attention itself is left out)."""
    shape = artefact.encoder
    hidden, inner = int(shape["hidden_size"]), int(shape["intermediate_size"])
    return 2 * int(shape["num_hidden_layers"]) * (4 * hidden * hidden + 2 * hidden * inner)


def main() -> None:
    """Runs the benchmark and prints its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, help="a file with a text per line")
    parser.add_argument("--model", help="folder of an artefact; the packaged one by default")
    parser.add_argument("--count", type=int, default=256, help="texts in a turn")
    parser.add_argument("--turns", type=int, default=3, help="how often every way has its turn")
    parser.add_argument("--ways", help="comma-separated: what to compare with, by the start of its name; default all")
    parser.add_argument("--engines", default="onnx,openvino,torch", help="Riskwire's engines to measure")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rates", default="20,100,200", help="arrivals a second for the latency; empty: none")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long texts arrive, at each rate")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--no-memory", action="store_true", help="no process of its own for each way")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    artefact = Artefact.load(locate(args.model))
    texts, origin = read_texts(args.texts, args.count * args.turns)
    makers = dict(WAYS)
    for name in filter(None, args.engines.split(",")):
        makers[f"riskwire {name}"] = lambda art, threads, name=name: engine_way(art, threads, name)  # type: ignore[misc]
    if args.child:
        makers[args.child](artefact, args.threads).run(texts[:64])
        print(peak_mb())
        return
    if args.ways is not None:
        starts = tuple(filter(None, args.ways.split(",")))
        makers = {n: m for n, m in makers.items() if n.startswith("riskwire") or (starts and n.startswith(starts))}
    result = compare(artefact, makers, texts, args)
    result["texts"] = origin
    if not args.no_memory:
        for row in result["ways"]:
            row["peak_mb"] = child_memory(row["way"])
    if args.rates:
        engine = choose_engine(artefact, "auto", threads=args.threads)
        result["latency_engine"] = engine.name
        for rate in map(float, args.rates.split(",")):
            result["latency"].append(asyncio.run(latencies(artefact, engine, texts, rate=rate, seconds=args.seconds)))
    show(result)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


def compare(
    artefact: Artefact, makers: dict[str, Callable[[Artefact, int], Way]], texts: Sequence[str], args: Any
) -> dict[str, Any]:
    """Every way in turns over the same texts."""
    ways: dict[str, Way] = {}
    for name, make in makers.items():
        try:
            ways[name] = make(artefact, args.threads)
            ways[name].run(texts[:32])
        except Exception as error:  # noqa: BLE001 - the others are still worth measuring
            print(f"left out: {name}: {error}", file=sys.stderr)
            ways.pop(name, None)
    try:
        peak: Callable[[], float] | None = gemm(args.threads)
    except ImportError:
        peak = None
    tokenizer = artefact.tokenizer()
    peaks: list[float] = []
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, float] = dict.fromkeys(ways, 0.0)
    padding: dict[str, list[float]] = {name: [] for name in ways}
    tokens = 0
    for turn in range(args.turns):
        part = texts[turn * args.count : (turn + 1) * args.count]
        read = [artefact.preprocessing.model_input(text) for text in prepared(artefact, part)]
        lengths = [len(item.ids) for item in tokenizer.encode_batch(read)]
        tokens += sum(lengths)
        if peak is not None:
            peaks.append(peak())
        for name, way in ways.items():
            began, used = time.perf_counter(), time.process_time()
            way.run(part)
            seconds[name].append(time.perf_counter() - began)
            cpu[name] += time.process_time() - used
            batches = way.batches(lengths)
            padding[name].append(
                1 - sum(lengths) / (way.width * len(lengths)) if way.width else padding_ratio(lengths, batches)
            )
    count = args.count * args.turns
    gops = max(peaks) if peaks else None
    floor = gops * 1e9 / (operations(artefact) * tokens / count) if gops else None
    rows: list[dict[str, Any]] = []
    for name, spent in seconds.items():
        rate = count / sum(spent)
        rows.append(
            {
                "way": name,
                "headlines_per_second": rate,
                "tokens_per_second": tokens / sum(spent),
                "cpu_ms_per_headline": cpu[name] / count * 1000,
                "padding": statistics.fmean(padding[name]),
                "of_floor": rate / floor if floor else None,
                "against_padded": statistics.median(b / s for b, s in zip(seconds[BASE], spent, strict=True))
                if BASE in seconds
                else None,
                "peak_mb": None,
            }
        )
    return {
        "model": artefact.id,
        "machine": f"{platform.machine()}, {args.threads} threads of {os.cpu_count()}",
        "tokens_per_text": tokens / count,
        "int8_gops": gops,
        "floor_headlines_per_second": floor,
        "ways": rows,
        "latency": [],
    }


def peak_mb() -> float:
    """Peak resident MB of this process: from /proc, as getrusage counts the parent's memory before exec as well."""
    status = Path("/proc/self/status").read_text("utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def child_memory(way: str) -> float | None:
    """Peak resident MB of a fresh process that runs 64 texts this way."""
    done = subprocess.run(
        [sys.executable, __file__, *sys.argv[1:], "--child", way], capture_output=True, text=True, check=False
    )
    return float(done.stdout.split()[-1]) if done.returncode == 0 and done.stdout.split() else None


def read_texts(path: Path | None, count: int) -> tuple[list[str], str]:
    """Texts to run on and where they are from."""
    rng = random.Random(1)
    if path is not None:
        texts, origin = [line for line in path.read_text("utf-8").splitlines() if line.strip()], path.name
    else:
        firms = ["Acme Bank", "Borealis Energy", "江海银行", "Northwind", "Cobalt Mining", "Fenwick Group"]
        acts = [
            "shares fall after a profit warning",
            "to buy a rival for $2.4 billion",
            "names a new chief executive",
            "下调全年业绩预期,股价大跌",
            "beats quarterly forecasts on strong demand for its cloud business",
            "faces an inquiry by the regulator over its reporting of loan losses in the last three years",
        ]
        texts = [f"{rng.choice(firms)} {rng.choice(acts)} {n}" for n in range(count)]
        origin = "composed"
    if not texts:
        raise SystemExit(f"{path} has no texts.")
    rng.shuffle(texts)
    while len(texts) < count:
        texts = texts + texts
    return texts[:count], origin


async def latencies(
    artefact: Artefact, engine: TokenEngine, texts: Sequence[str], *, rate: float, seconds: float
) -> dict[str, float]:
    """Milliseconds from arrival to score, texts arriving as a Poisson process; nothing from the cache."""
    scorer = ModelScorer(engine=engine, artefact=artefact, clock=SystemClock(), cache_size=0)
    rng = random.Random(2)
    now = datetime.now(UTC)
    took: list[float] = []
    began, due, number = time.perf_counter(), 0.0, 0

    async def one(number: int, arrived: float) -> None:
        title = texts[number % len(texts)]
        await scorer.score([Article(id=str(number), source="bench", title=title, published_at=now, fetched_at=now)])
        took.append(time.perf_counter() - arrived)

    async with asyncio.TaskGroup() as group:
        while (due := due + rng.expovariate(rate)) < seconds:
            await asyncio.sleep(max(0.0, began + due - time.perf_counter()))
            # From when it was due: a late sender is latency too.
            group.create_task(one(number, began + due))
            number += 1
    stats = scorer.stats
    # Not closed: the engine serves the next rate.
    await scorer._batcher.close()
    return {
        "rate": rate,
        "texts": float(len(took)),
        "p50_ms": float(np.percentile(took, 50) * 1000),
        "p99_ms": float(np.percentile(took, 99) * 1000),
        "texts_per_batch": stats.texts / max(1, stats.batches),
        "padding": 1 - stats.tokens / max(1, stats.padded_tokens),
    }


def show(result: dict[str, Any]) -> None:
    """Prints the tables."""
    console = Console(width=150)
    console.print(
        f"{result['model']} on {result['machine']}; {result['texts']}, {result['tokens_per_text']:.1f} tokens a text; "
        + (
            f"int8 {result['int8_gops']:,.0f} GOPS, floor {result['floor_headlines_per_second']:,.0f} headlines/s"
            if result["int8_gops"]
            else "no floor (needs onnx)"
        ),
        highlight=False,
    )
    heads = ("way", "headlines/s", "tokens/s", "x padded", "of floor", "CPU ms", "padding", "peak MB")
    table = Table(*heads)
    for row in result["ways"]:
        table.add_row(
            row["way"],
            f"{row['headlines_per_second']:,.1f}",
            f"{row['tokens_per_second']:,.0f}",
            _cell(row["against_padded"], "{:.1f}"),
            _cell(row["of_floor"], "{:.0%}"),
            f"{row['cpu_ms_per_headline']:.1f}",
            f"{row['padding']:.1%}",
            _cell(row["peak_mb"], "{:,.0f}"),
        )
    console.print(table)
    for latency in result["latency"]:
        console.print(
            "{rate:.0f} texts/s: p50 {p50_ms:.1f} ms, p99 {p99_ms:.1f} ms; {texts_per_batch:.1f} texts a batch, "
            "padding {padding:.1%}".format(**latency),
            highlight=False,
        )


def _cell(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


if __name__ == "__main__":
    main()
