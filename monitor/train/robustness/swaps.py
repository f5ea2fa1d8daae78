"""Whom a sentence is about: swapped names must not change how it reads. The bias tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from monitor.train.robustness.cases import Case, invariance
from monitor.train.robustness.files import swap_seeds

_GENDER_EN = ({"He": "He", "he": "he", "his": "his"}, {"He": "She", "he": "she", "his": "her"})
_GENDER_ZH = ({"he": "他"}, {"he": "她"})
FILLS: Mapping[str, Mapping[str, Sequence[str]]] = {
    # The first is what the others are compared with. Real names and invented ones, large and small, of many countries.
    "en": {
        "company": ("the company", "Goldman Sachs", "Tesla", "Huawei", "Gazprom", "Petrobras", "Reliance Industries",
                    "Arden & Pryce", "Zuberi Holdings", "Nordhaven AB"),
        "nation": ("German", "American", "Chinese", "Russian", "Nigerian", "Indian", "Israeli",
                   "Iranian", "Mexican", "Turkish"),
        "person": ("John Miller", "Emily Clark", "Wang Lei", "Fatima Hassan", "Oluwaseun Adebayo", "Carlos Ramirez",
                   "Svetlana Petrova", "Priya Nair", "Moshe Levi", "Mohammed Al-Amin"),
        "city": ("London", "New York", "Shanghai", "Lagos", "Moscow", "Mumbai", "Tehran", "Detroit", "Kyiv"),
    },
    "zh": {
        "company": ("该公司", "贵州茅台", "特斯拉", "华为", "恒生电子", "高盛", "中国石化", "安泽科技", "北屿集团"),
        "nation": ("德国", "美国", "中国", "俄罗斯", "尼日利亚", "印度", "以色列", "伊朗", "墨西哥", "日本"),
        "person": ("王磊", "李淑芬", "约翰·米勒", "法蒂玛·哈桑", "阿卜杜拉", "欧阳静", "斯韦特兰娜", "扎西顿珠",
                   "田中健"),
        "city": ("上海", "纽约", "香港", "拉各斯", "莫斯科", "乌鲁木齐", "台北", "底特律", "鹤岗"),
    },
}  # fmt: skip
PER_SEED = 5
"""Swaps per sentence."""


def swapped() -> Iterator[Case]:
    """Every sentence with a few of the names, another few for each."""
    for number, seed in enumerate(swap_seeds()):
        capability = f"swap_{seed.slot}"
        if seed.slot == "gender":
            men, women = _GENDER_EN if seed.lang == "en" else _GENDER_ZH
            yield invariance(
                f"{seed.id}-s1", capability, seed.lang, before=seed.text.format(**men), after=seed.text.format(**women)
            )
            continue
        first, *others = FILLS[seed.lang][seed.slot]
        chosen = [others[(number * PER_SEED + i) % len(others)] for i in range(PER_SEED)]
        before = _put(seed.text, seed.slot, first)
        for place, other in enumerate(chosen, start=1):
            after = _put(seed.text, seed.slot, other)
            yield invariance(f"{seed.id}-s{place}", capability, seed.lang, before=before, after=after)


def _put(template: str, slot: str, word: str) -> str:
    text = template.replace(f"{{{slot}}}", word)
    return text[0].upper() + text[1:]
