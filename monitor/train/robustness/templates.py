"""Sentences from templates, each with a known verdict: every template filled a few times, the same in every run."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence

from monitor.train.robustness.cases import VERDICTS, Case, Kind

FILLS = 5
"""Sentences per template."""
_SLOT = re.compile(r"\{(\w+)\}")

_EN: Mapping[str, Sequence[str]] = {
    "company": ("Tarn Logistics", "Okafor Cement", "Vestring", "Bluefjord", "Quintero Foods", "Hanbyul Electronics",
                "Marwick Rail", "Solano Energy", "Dalgety Mills"),
    "place": ("Portugal", "the Midlands", "Ontario", "Vietnam", "the euro zone", "Kenya", "the Gulf states"),
    "burden": ("unemployment", "the default rate", "the number of bad loans", "the cost of living",
               "the number of company insolvencies", "the share of late payments", "the number of workplace accidents"),
    "boon": ("factory output", "the number of new orders", "household income", "export revenue", "tourist spending",
             "the number of new jobs"),
    "up": ("rose sharply", "climbed again", "jumped", "increased markedly"),
    "down": ("fell sharply", "declined again", "dropped", "decreased markedly"),
    "bad_deed": ("miss its profit target", "breach its loan covenants", "default on its bonds",
                 "lose any customer data", "cut its dividend", "lay off any staff"),
    "good_deed": ("meet its profit target", "win the contract it had counted on", "secure the funding it needs",
                  "pay its suppliers on time", "recover the stolen money"),
    "crime": ("fraud", "bribery", "price fixing", "insider dealing", "false accounting"),
    "body": ("The competition authority", "An independent inquiry", "The market regulator", "The public prosecutor"),
    "hope": ("a recovery", "an end to the losses", "a buyer", "fresh orders"),
    "harm": ("The damage", "The writedown", "The drop in sales", "The outflow of deposits", "The hit to profit"),
    "small": ("14", "27", "63", "118"),
    "large": ("240", "365", "510", "880"),
    "period": ("for the full year", "for the second half", "for the current quarter"),
    "blow": ("fined by the regulator", "sued by its own investors", "downgraded by two rating agencies",
             "raided by the tax police", "thrown out of the index", "hit by a ransomware attack"),
    "boost": ("awarded a large contract by the government", "upgraded by two rating agencies",
              "cleared of all charges by the court", "named the fastest-growing firm in its industry",
              "granted approval for its new drug"),
    "speaker": ("the chief executive", "a board member", "the finance director", "the founder"),
    "gloom": ("We are burning cash and have no plan", "Orders have dried up completely",
              "We will have to close plants", "This year will be painful"),
    "cheer": ("We have never had so many orders", "Margins are the best we have seen",
              "We are hiring again in every country", "This year will break all records"),
    "date": ("3 March", "17 June", "29 August", "11 November"),
    "event": ("its annual meeting", "a call with analysts", "an investor day", "its half-year press conference"),
    "post": ("head of investor relations", "treasurer", "general counsel", "chief technology officer"),
    "person": ("Ines Castro", "Paul Adeyemi", "Mei Tanaka", "Lars Holm"),
}  # fmt: skip
_ZH: Mapping[str, Sequence[str]] = {
    "company": ("泰和物流", "奥达水泥", "蓝湾科技", "昆林食品", "汉星电子", "马克铁路", "索兰能源", "远安医药"),
    "place": ("葡萄牙", "华北地区", "安大略省", "越南", "欧元区", "肯尼亚", "海湾国家"),
    "burden": ("失业率", "贷款违约率", "银行坏账", "居民生活成本", "企业破产数量", "逾期付款比例", "安全事故数量"),
    "boon": ("工业产出", "新增订单", "居民收入", "出口收入", "旅游消费", "新增岗位"),
    "up": ("大幅上升", "再度攀升", "明显增加", "持续走高"),
    "down": ("大幅下降", "再度下滑", "明显减少", "持续走低"),
    "bad_deed": ("违约", "泄露客户数据", "裁员", "削减分红", "违反贷款条款"),
    "good_deed": ("完成盈利目标", "拿到指望已久的合同", "筹到所需资金", "按时向供应商付款", "追回被盗资金"),
    "crime": ("欺诈", "行贿", "操纵价格", "内幕交易", "财务造假"),
    "body": ("反垄断机构", "独立调查组", "证券监管部门", "检察机关"),
    "hope": ("复苏", "止亏", "买家接手", "新订单"),
    "harm": ("损失", "减值", "销量降幅", "存款流失", "利润所受冲击"),
    "small": ("1400万", "2700万", "6300万", "1.1亿"),
    "large": ("2.4亿", "3.6亿", "5.1亿", "8.8亿"),
    "period": ("全年", "下半年", "本季度"),
    "blow": ("遭监管部门重罚", "遭投资者集体起诉", "被两家评级机构下调评级", "被税务警察突击搜查", "被剔除出指数",
             "遭勒索软件攻击"),
    "boost": ("中标政府大额合同", "获两家评级机构上调评级", "被法院判定无罪", "新药获批上市",
              "被评为业内增长最快的企业"),
    "speaker": ("首席执行官", "一位董事", "财务总监", "创始人"),
    "gloom": ("我们不断烧钱，却拿不出办法", "订单已经完全枯竭", "我们将不得不关闭工厂", "今年会非常痛苦"),
    "cheer": ("我们从未有过这么多订单", "利润率达到历史最好水平", "我们在各国重新开始招人", "今年将刷新所有纪录"),
    "date": ("3月3日", "6月17日", "8月29日", "11月11日"),
    "event": ("年度股东大会", "分析师电话会", "投资者开放日", "半年度新闻发布会"),
    "post": ("投资者关系主管", "司库", "总法律顾问", "首席技术官"),
    "person": ("许静", "高远", "林梅", "周立"),
}  # fmt: skip
_TEMPLATES: Mapping[str, tuple[Mapping[str, Sequence[str]], Sequence[tuple[str, str, str]]]] = {
    "en": (_EN, (
        ("direction_of_costs", "negative", "In {place}, {burden} {up} last month"),
        ("direction_of_costs", "positive", "In {place}, {burden} {down} last month"),
        ("direction_of_costs", "positive", "Figures show that {boon} {up} in {place}"),
        ("direction_of_costs", "negative", "Figures show that {boon} {down} in {place}"),
        ("negation", "not_negative", "{company} did not {bad_deed} after all"),
        ("negation", "negative", "{company} did not {good_deed}"),
        ("negation", "not_negative", "{body} found no sign of {crime} at {company}"),
        ("negation", "negative", "No sign of {hope} at {company}"),
        ("expectation", "positive", "{company} narrows its loss to {small} million dollars from {large} million"),
        ("expectation", "negative", "{company}'s loss widens to {large} million dollars from {small} million"),
        ("expectation", "positive", "{company} cuts its loss forecast {period}"),
        ("expectation", "negative", "{company} cuts its profit forecast {period}"),
        ("expectation", "not_negative", "{harm} at {company} was much smaller than feared"),
        ("passive", "negative", "{company} was {blow}"),
        ("passive", "positive", "{company} was {boost}"),
        ("attribution", "negative", '"{gloom}," said {speaker} of {company}'),
        ("attribution", "positive", '"{cheer}," said {speaker} of {company}'),
        ("hard_neutral", "neutral", "{company} will hold {event} on {date}"),
        ("hard_neutral", "neutral", "{company} names {person} as {post}"),
    )),
    "zh": (_ZH, (
        ("direction_of_costs", "negative", "上月{place}{burden}{up}"),
        ("direction_of_costs", "positive", "上月{place}{burden}{down}"),
        ("direction_of_costs", "positive", "数据显示，{place}{boon}{up}"),
        ("direction_of_costs", "negative", "数据显示，{place}{boon}{down}"),
        ("negation", "not_negative", "{company}最终没有{bad_deed}"),
        ("negation", "negative", "{company}没能{good_deed}"),
        ("negation", "not_negative", "{body}未发现{company}存在{crime}"),
        ("negation", "negative", "{company}仍看不到{hope}的迹象"),
        ("expectation", "positive", "{company}亏损由{large}元收窄至{small}元"),
        ("expectation", "negative", "{company}亏损由{small}元扩大至{large}元"),
        ("expectation", "positive", "{company}调低{period}亏损预期"),
        ("expectation", "negative", "{company}调低{period}盈利预期"),
        ("expectation", "not_negative", "{company}的{harm}远没有担心的那么严重"),
        ("passive", "negative", "{company}{blow}"),
        ("passive", "positive", "{company}{boost}"),
        ("attribution", "negative", "{company}{speaker}表示：“{gloom}”"),
        ("attribution", "positive", "{company}{speaker}表示：“{cheer}”"),
        ("hard_neutral", "neutral", "{company}将于{date}举行{event}"),
        ("hard_neutral", "neutral", "{company}任命{person}为{post}"),
    )),
}  # fmt: skip


def generated() -> Iterator[Case]:
    """All templates filled."""
    for lang, (words, templates) in _TEMPLATES.items():
        for number, (capability, expected, template) in enumerate(templates, start=1):
            for place, text in enumerate(_fill(template, words), start=1):
                yield Case(
                    id=f"{lang}-{capability}-t{number:02d}{chr(96 + place)}",
                    kind=Kind.MFT,
                    capability=capability,
                    lang=lang,
                    text=text,
                    expected=VERDICTS[expected],
                )


def _fill(template: str, words: Mapping[str, Sequence[str]]) -> list[str]:
    """Up to FILLS different sentences. Every slot goes through its words in an order of its own, so that no two
    sentences share more than they must."""
    orders = {}
    for slot in _SLOT.findall(template):
        order = list(words[slot])
        random.Random(f"{template}/{slot}").shuffle(order)
        orders[slot] = order
    texts = [
        _SLOT.sub(lambda match, i=i: orders[match[1]][i % len(orders[match[1]])], template)  # type: ignore[misc]
        for i in range(FILLS)
    ]
    return [text[0].upper() + text[1:] for text in dict.fromkeys(texts)]
