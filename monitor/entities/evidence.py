"""Words that speak for a company when an alias may mean something else. Chosen by hand; all in folded form."""

from __future__ import annotations

# Near the alias, anywhere. Words that also go with goods, places and people ("price", "market", "bank") are left out.
FINANCE_WORDS: tuple[str, ...] = (
    "shares", "share price", "stock", "stocks", "shareholder", "shareholders", "stake", "earnings", "profit",
    "profits", "net income", "revenue", "revenues", "ebitda", "eps", "quarter", "quarterly", "q1", "q2", "q3",
    "q4", "first-quarter", "second-quarter", "third-quarter", "fourth-quarter", "half-year", "full-year",
    "guidance", "outlook", "dividend", "dividends", "buyback", "buybacks", "investor", "investors", "analyst",
    "analysts", "ceo", "cfo", "coo", "chief executive", "chief financial officer", "chairman", "inc", "corp",
    "plc", "ltd", "ag", "company", "company's", "conglomerate", "ipo", "merger", "acquisition", "acquires",
    "takeover", "antitrust", "lawsuit", "lawsuits", "layoffs", "job cuts", "downgrade", "downgrades",
    "downgraded", "upgrade", "upgrades", "upgraded", "overweight", "underweight", "outperform", "underperform",
    "market cap", "market value", "nasdaq", "nyse", "wall street", "s&p 500", "dow", "tech giant", "big tech",
    "billionaire", "restructuring", "bonds", "credit rating", "bailout", "subsidiary", "regulator",
    "regulators", "watchdog", "fined", "bankruptcy", "supplier", "suppliers", "spin-off", "divest",
)  # fmt: skip

FINANCE_WORDS_ZH: tuple[str, ...] = (
    "股价", "股份", "股票", "公司", "财报", "业绩", "净利", "利润", "营收", "收入", "季度",
    "季报", "年报", "半年报", "市值", "上市", "集团", "董事长", "首席执行官", "总裁", "ceo",
    "高管", "股东", "分红", "派息", "回购", "增持", "减持", "收购", "并购", "投资者",
    "分析师", "目标价", "评级", "裁员", "反垄断", "诉讼", "监管", "罚款", "旗下", "子公司",
    "美股", "港股", "a股", "涨停", "跌停", "大涨", "大跌", "收涨", "收跌", "概念股",
    "供应商", "新品", "发布会", "融资", "亿元", "亿美元", "亿港元", "股價", "財報", "業績",
    "淨利", "營收", "董事長", "執行長", "股東", "資產", "集團",
)  # fmt: skip

# Right after the alias, as its verb.
COMPANY_VERBS: tuple[str, ...] = (
    "says", "said", "unveils", "unveiled", "launches", "launched", "reports", "reported", "posts", "posted",
    "beats", "misses", "sues", "sued", "recalls", "hires", "names", "appoints", "agrees", "acquires", "buys",
    "sells", "plans", "warns", "cuts", "raises", "lifts", "trims", "slashes", "forecasts", "expects", "faces",
    "settles", "denies", "declines", "signs", "partners", "invests", "expands", "delays", "halts", "suspends",
    "resumes", "wins", "loses", "seeks", "considers", "explores", "nears", "weighs", "joins", "ordered",
    "overhauls", "discloses", "spins", "to acquire", "to buy", "to sell", "to cut", "to invest", "to launch",
    "to pay", "to close", "to lay off", "to build", "to list", "to raise", "to hire", "to open", "to shut",
    "to spin", "to face", "to report", "to appeal", "to recall", "jumps", "surges", "tumbles", "slumps",
    "plunges", "soars", "rallies", "slides", "files",
)  # fmt: skip
