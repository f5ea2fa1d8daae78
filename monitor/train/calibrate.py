"""Temperature scaling: one number per task, found on texts that were neither trained nor tested on."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from monitor.core.errors import TrainError
from monitor.train.metrics import Ints, nll


def temperature(logits: NDArray[np.floating], truth: Ints) -> float:
    """The temperature with the least negative log-likelihood (Guo et al. 2017), between 1/2 and 10.

    The bounds matter for small sets: one without a single mistake would drive the temperature to zero.

    Raises TrainError when there is nothing to calibrate on.
    """
    if len(truth) == 0:
        raise TrainError("There are no examples to calibrate on.", hint="Raise split.calibration in the recipe.")
    found = minimize_scalar(
        lambda log: nll(logits, truth, math.exp(log)), bounds=(math.log(0.5), math.log(10.0)), method="bounded"
    )
    return float(math.exp(found.x))
