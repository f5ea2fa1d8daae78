"""The baseline that a transformer must clearly beat: TF-IDF with a linear SVM, on the very same split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from monitor.train.config import TrainConfig
from monitor.train.data import Example


def linear_svm(
    config: TrainConfig, parts: Mapping[str, Sequence[Example]], *, task: str, source: str
) -> NDArray[np.int64]:
    """Predicted labels of the test examples of ``source`` for ``task``, in order.

    Words (1-2) and characters (2-5) by TF-IDF into ``LinearSVC``. It is fitted once on the examples of ``source`` and
    once on all that carry the task; whichever does better on the calibration part is taken, so that the baseline is
    not held back by data of another kind.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.svm import LinearSVC

    def pick(part: str, only: str | None) -> tuple[list[str], list[int]]:
        chosen = [ex for ex in parts[part] if task in ex.labels and (only is None or ex.source == only)]
        return [ex.text for ex in chosen], [ex.labels[task] for ex in chosen]

    held_texts, held = pick("calibration", source)
    best_score, best = -1.0, np.empty(0, dtype=np.int64)
    for only in (source, None):
        texts, labels = pick("train", only)
        if len(set(labels)) < 2:
            continue
        model = make_pipeline(
            make_union(
                TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2),
                TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=2),
            ),
            LinearSVC(C=0.5, random_state=config.seed),
        )
        model.fit(texts, labels)
        score = float(np.mean(model.predict(held_texts) == np.asarray(held))) if held else 0.0
        if score > best_score:
            best_score, best = score, np.asarray(model.predict(pick("test", source)[0]), dtype=np.int64)
    return best
