"""Letters without which an expression cannot match, so that it is run only where they stand.

Only what is certain: letters and digits of ASCII and Chinese characters that stand in the expression outside of any
choice, class or group, in every branch at the top. Whoever reads too little here makes an expression dearer, never
blind; so what is not understood gives nothing.
"""

from __future__ import annotations

from alerts.rules.text import simplify

_SHORTEST = 3
"""Letters; a Chinese character counts for two."""
_QUANTIFIERS = "?*+{"


def needed(pattern: str) -> tuple[str, ...] | None:
    """Texts of which one stands (in small letters and simplified characters) wherever the expression matches; None
    when none is certain."""
    if "\\Q" in pattern or "(?" in pattern.replace("(?:", ""):  # quotations and flags are left to RE2
        return None
    found = []
    for branch in _branches(simplify(pattern)):
        longest = max(_runs(branch), key=_weight, default="")
        if _weight(longest) < _SHORTEST:
            return None
        found.append(longest)
    return tuple(dict.fromkeys(found))


def _weight(text: str) -> int:
    return sum(1 if char.isascii() else 2 for char in text)


def _plain(char: str) -> bool:
    """A character that matches itself and its capital alone."""
    return (char.isascii() and char.isalnum()) or "\u3400" <= char <= "\u9fff"


def _branches(pattern: str) -> list[str]:
    """The alternatives at the top."""
    found, depth, start, at = [], 0, 0, 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\":
            at += 2
            continue
        if char == "[":
            at = _class_end(pattern, at)
            continue
        depth += (char == "(") - (char == ")")
        if char == "|" and depth == 0:
            found.append(pattern[start:at])
            start = at + 1
        at += 1
    return [*found, pattern[start:]]


def _class_end(pattern: str, at: int) -> int:
    """Where a class that begins at ``at`` is over."""
    at += 2 if pattern.startswith("[^", at) else 1
    first = at
    while at < len(pattern) and (pattern[at] != "]" or at == first):
        if pattern.startswith("[:", at) and (end := pattern.find(":]", at)) > 0:
            at = end + 2
        else:
            at += 2 if pattern[at] == "\\" else 1
    return at + 1


def _runs(branch: str) -> list[str]:
    """The stretches of plain characters outside groups and classes."""
    runs, run, depth, at = [], "", 0, 0

    def cut() -> None:
        nonlocal run
        runs.append(run.lower())
        run = ""

    while at < len(branch):
        char = branch[at]
        if char == "\\":
            cut()
            at += 2
            if branch[at - 1 : at] in ("p", "P", "x") and branch.startswith("{", at):
                at = branch.find("}", at) + 1 or len(branch)
            elif branch[at - 1 : at] in ("p", "P"):
                at += 1
            elif branch[at - 1 : at] == "x":
                at += 2
            elif branch[at - 1 : at].isdigit():  # an octal code
                while at < len(branch) and branch[at].isdigit():
                    at += 1
        elif char == "[":
            cut()
            at = _class_end(branch, at)
        elif char in "()":
            cut()
            depth += 1 if char == "(" else -1
            at += 1
        elif char in _QUANTIFIERS:
            if char != "+":
                run = run[:-1]  # what may be missing
            cut()
            at = (branch.find("}", at) + 1 or len(branch)) if char == "{" else at + 1
        else:
            if depth == 0 and _plain(char):
                run += char
            else:
                cut()
            at += 1
    cut()
    return [run for run in runs if run]
