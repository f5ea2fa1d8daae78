"""The one form under which aliases and articles are compared; it lives in the core, rules need it too."""

from monitor.core.folding import Folded as Folded
from monitor.core.folding import fold as fold
