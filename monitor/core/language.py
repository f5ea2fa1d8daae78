"""Which language a headline is in: by script, and for Latin letters by common words and letters. Standard library only.

Made for one question, "is this a language that the model reads?", on texts of a few words full of foreign names. So the
words counted are those that names seldom bring along, a capital counts against a word unless everything has capitals,
and what gives no sign of another language is taken for English.
"""

from __future__ import annotations

import re

_LETTER = re.compile(r"[^\W\d_]")
_SCRIPTS = (
    ("zh", re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")),
    ("ja", re.compile(r"[\u3040-\u30ff]")),
    ("ko", re.compile(r"[\uac00-\ud7af\u1100-\u11ff]")),
    ("ru", re.compile(r"[\u0400-\u052f]")),
    ("ar", re.compile(r"[\u0600-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufeff]")),
    ("he", re.compile(r"[\u0590-\u05ff]")),
    ("el", re.compile(r"[\u0370-\u03ff\u1f00-\u1fff]")),
    ("th", re.compile(r"[\u0e00-\u0e7f]")),
    ("hi", re.compile(r"[\u0900-\u097f]")),
)
_LATIN = re.compile(r"[A-Za-z\u00aa\u00ba\u00c0-\u024f\u1e00-\u1eff\uff21-\uff3a\uff41-\uff5a]")
_UKRAINIAN = re.compile(r"[іїєґІЇЄҐ]")
_PERSIAN = re.compile(r"[پچژگیک]")
_WORD = re.compile(r"(?<!\w)[^\W\d_]+(?:['’][^\W\d_]+)*(?!\w)")
_ELISION = re.compile(r"(?:[dljmnstc]|qu|dell|all|nell|sull|dall|un)['’](?=\w{2})")
READ = 600
"""Characters from the start of a text that are looked at."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ENGLISH = _words("""
the of to and in for on as with at by after from is are its it this that be has have had was were will would
could should may might can says said say over under up down off out amid into than more less new not no but or
if who why how what when which their his her he she they we you our your about against before between during
since through until while first second third quarter year years month week day today plans plan sees see cut
cuts raises raise rises rise falls fall drops gains loss losses profit profits sales revenue shares share stock
stocks market markets bank banks billion million percent pct deal deals report reports results earnings rate
rates price prices oil gold bond bonds debt growth inflation economy trade tariffs tariff tax court judge fraud
probe lawsuit fine fined ceo chief executive officer board company companies firm firms group unit business
investors analysts forecast forecasts outlook guidance higher lower high low record top beats misses misses
ahead back buy buys sell sells sold stake offer offers bid names named appoints resigns steps quits hit hits set
sets seeks urges warns warning calls files filed agrees approves launches opens closes ends starts begins wins
loses keeps makes takes gets still yet again just now all some two three four five six ten one other any most
many least last next near due despite because government minister president central federal reserve fed treasury
dollar yield yields supply demand crude gas energy power cars car plant workers jobs job strike talks ban
sanctions war attack police crash fire storm earthquake killed dead people world global us uk china european
annual quarterly net operating income dividend holders chairman director directors manager bankruptcy default
rating downgrade downgrades upgrade upgrades cuts target holds hold unchanged steady expected expects expect
""")

# Words that headlines of a language are full of and that English ones, names included, hardly have.
_WORDS: dict[str, frozenset[str]] = {
    "de": _words("""
        und der das nicht mit von ist für auf dem den des ein eine einen einem einer im zum zur bei nach aus
        wird werden wurde sich auch oder aber wie nur noch mehr vor gegen über unter durch wegen seit bis als an
        am um hat haben kein keine soll will kann sind wieder weiter jahr jahre prozent milliarden millionen
        euro gewinn verlust umsatz aktie aktien kurs bricht steigt sinkt fällt steigen sinken zentralbank banken
        unternehmen konzern wirtschaft regierung deutsche deutschland anleger zinsen quartal zum erwartet laut
        stellen vorstand"""),
    "fr": _words("""
        le la les des est une dans pour que qui sur pas avec par du au aux et ou mais ses leur leurs sont ont
        été être plus moins après avant selon chez contre entre sans sous cette ces ce il elle se ne milliards
        millions hausse baisse bourse banque bénéfice résultat chiffre affaires trimestre annonce recule bondit
        grimpe chute titre action marché marchés entreprise gouvernement taux prix an ans année face vers dès
        fait vise veut va pertes"""),
    "es": _words("""
        el la los las que con por del una un es en de y se su sus al lo más pero como para sin sobre entre tras
        desde hasta ha han fue son está ser millones millones ventas beneficio pérdidas trimestre acciones bolsa
        banco gobierno sube baja cae caen suben precio precios según año años empresa mercado mercados tasas
        tipos interés contra anuncia ganancias crece crecimiento ante este esta también no acusado podría
        dólares"""),
    "pt": _words("""
        o os as um uma de do da dos das em no na nos nas que com por para ao aos à às e é são foi não mais menos
        mas como sobre após até entre contra diz pelo pela seu sua tem têm milhões bilhões bilhão lucro prejuízo
        receita ações bolsa banco governo alta queda sobe cai caem sobem trimestre ano anos mercado juros taxa
        empresa preço preços segundo anuncia vai está já também reais"""),
    "it": _words("""
        il lo la gli le un una di del della dei degli delle da dal dalla in nel nella con su sul sulla per che
        non è e sono ha hanno più meno anche dopo prima contro tra fra ma come si al alla ai alle miliardi
        milioni utile utili perdita ricavi trimestre borsa azioni titolo banca governo calo rialzo ribasso sale
        scende crolla cresce mercato mercati tassi prezzi anno anni società euro piazza affari"""),
    "nl": _words("""
        de het een en van voor met niet op aan te dat die is zijn wordt worden door bij naar uit om ook maar nog
        meer minder na tegen over onder tot als heeft hebben werd kan moet wil deze dit geen jaar miljoen
        miljard winst verlies omzet aandeel aandelen beurs bank koers stijgt daalt daling stijging kwartaal
        procent rente bedrijf overheid topman beleggers verwacht wegens ondanks daalde steeg"""),
    "sv": _words("""
        och att det som en ett av för med på är inte den till från om har hade kan ska skall vid efter mot under
        över också men eller bara mer mindre år kronor miljarder miljoner vinst vinsten förlust aktie aktien
        aktier börsen bolaget bolag banken kvartalet ökar minskar faller stiger rasar lyfter procent räntan
        regeringen enligt"""),
    "da": _words("""
        og at det som en et af for med på er ikke den til fra om har havde kan skal ved efter mod under over
        også men eller kun mere mindre år kroner milliarder millioner overskud underskud aktie aktien aktier
        børsen selskabet selskab banken kvartal stiger falder procent renten regeringen ifølge mia mio bliver
        efter"""),
    "no": _words("""
        og at det som en et av for med på er ikke den til fra om har hadde kan skal ved etter mot under over
        også men eller bare mer mindre år kroner milliarder millioner overskudd underskudd aksje aksjen aksjer
        børsen selskapet selskap banken kvartal stiger faller prosent renten regjeringen ifølge blir opp ned"""),
    "fi": _words("""
        ja on ei että oli ovat se kun mutta tai myös sekä kuin jo nyt vielä yli alle noin miljoonaa miljardia
        euroa prosenttia yhtiö yhtiön osake osakkeen osakkeet pörssi pankki voitto tappio liikevaihto tulos
        nousi laski nousee laskee kasvoi vuoden vuonna hallitus mukaan jälkeen vastaan ennen kanssa ensi"""),
    "tr": _words("""
        ve bir bu için ile de da daha çok en olarak olan sonra önce kadar göre karşı ancak gibi yüzde milyar
        milyon lira dolar faiz enflasyon merkez bankası borsa hisse hisseleri şirket şirketi kâr kar zarar
        yükseldi düştü arttı azaldı açıkladı yeni yıl yılın çeyrek çeyrekte hükümet ediyor edildi oldu etti"""),
    "pl": _words("""
        i w na z do się nie że o po za od dla jest są był była przez oraz przed przy ale jak to co już ma o mld
        mln zł złotych proc zysk strata strat akcje akcji giełda giełdzie bank banku spółka spółki rynku rok
        roku wzrost spadek wzrosły spadły spada rośnie kwartale stopy procentowe rząd według ponad"""),
    "cs": _words("""
        a v na se je z že do o s k i pro po od za za by byl byla jsou ale jako jak před při nebo už také podle
        mezi proti miliardy miliard milionů korun procenta procent zisk ztráta akcie akcií burza banka banky
        firma společnost roku růst pokles vzrostl klesl klesly vláda sazby letos"""),
    "hu": _words("""
        a az és nem hogy egy is meg van volt de ki el csak már még mint vagy után előtt szerint ellen között
        milliárd millió forint forintos százalékkal százalék nyereség veszteség részvény részvények tőzsde bank
        jegybank cég vállalat éves negyedév nőtt csökkent esett emelkedett kormány kamat"""),
    "ro": _words("""
        și si în la de cu pe nu este sunt din pentru care mai după prin până sau dar ca că au fost va o un se sa
        lei miliarde milioane profit pierderi acțiuni acțiunile bursa bănci banca creștere scădere crește scade
        companie compania guvernul față anul trimestrul peste"""),
    "id": _words("""
        yang dan di ke dari untuk dengan pada akan tidak ini itu dalam oleh atau juga telah sudah lebih bagi
        karena setelah usai saat hingga masih tak bisa akibat miliar juta triliun persen rupiah saham laba rugi
        naik turun anjlok melonjak harga bank pasar pemerintah perusahaan tahun kuartal suku bunga tetap jadi
        bakal capai"""),
    "vi": _words("""
        và của là cho các một những không được trong với có đã sẽ từ đến khi về trên sau trước giá tăng giảm
        ngân hàng công ty tỷ triệu đồng lợi nhuận lỗ cổ phiếu chứng khoán thị trường năm quý nhà nước lãi suất
        doanh thu"""),
}  # fmt: skip

_IN_NAMES = _words("""
de la le les du des el los las del al di da dos das van von der den het en un una lo san santa te il i a o y e
no as is on in an am at was also war will hat die so me to for men bank banco banca banque bolsa action titles
profit procent euro total de do se si ca va am um us art bad gut fast mit mega lei lira rupiah an plan titre
kroner sale com unit tot over under per bid est rev mln mld mio van dan mai ai on su sue an at om et av mot ko le ne sa
ki mint de is
""")
"""Words of the lists that also stand in names, or that English has too: they count for little."""
_WEAK = 0.34

_LETTERS = {
    "de": "äöüß", "fr": "éèêëàâçùûîïôœ", "es": "ñáíóúé¿¡", "pt": "ãõçáâêéíóúà", "it": "àèìòù", "nl": "ëï", "sv": "åäö",
    "da": "åæø", "no": "åæø", "fi": "äö", "tr": "ğışçöü", "pl": "łąęćśźżńó", "cs": "řůěšžčýáíé", "hu": "őűáéíóöúü",
    "ro": "șțăâîşţ", "vi": "đơưăạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹ",
}  # fmt: skip

_SHAPES = {
    "de": re.compile(r".*(?:ung|ungen|keit|heit|schaft|lich|ieren|iert|eicht)$|.*(?:sch[rwlmn]|tz[^h]|pf[aeilu])"),
    "fr": re.compile(r".*(?:eux|euse|ement|ements|aient|iez|eur|eurs|ique|iques|ier|iers|elle|elles)$"),
    "es": re.compile(r".*(?:ción|ciones|dad|dades|ando|iendo|aron|ieron|ismo|eza|ocio)$|hue"),
    "pt": re.compile(r".*(?:ção|ções|dade|agem|agens|eiro|eira|ando|endo|aram|ão|ões)$"),
    "it": re.compile(r".*(?:zione|zioni|tà|mento|menti|ando|endo|ato|ata|ati|ezza|aggio|gli|cchi|cede)$"),
    "nl": re.compile(r".*(?:ij|aat|aal|aar|eld|erd|ing|oek|uiz|ijk)|.*(?:pt|elen|enden|eren|gen|ken|jzen|anen|isten)$"),
    "sv": re.compile(r".*(?:ningen|ning|igen|tionen|ades|erna|arna|ställ|skt|nkurs)$|.*(?:[åä])"),
    "da": re.compile(r".*(?:else|elsen|erne|igen|tidligere|dig|sker|priser|rer|iet|ningen)$|.*(?:[øæå])"),
    "no": re.compile(r".*(?:else|elsen|ene|ning|ningen|skap|sker|endret|veksten|prisene)$|.*(?:[øæå])"),
    "fi": re.compile(r".*(?:ssa|ssä|sta|stä|lla|llä|lta|ltä|lle|aan|oon|een|uun|uksen|isti|ivat|ää|aatio|oitus)$"),
    "tr": re.compile(r".*(?:lar|ler|ları|leri|dı|di|tı|ti|ması|mesi|nde|nda|yor|ında|inde|ü|ı)$"),
    "pl": re.compile(r".*(?:ski|ego|ych|ów|owa|owe|ania|enie|ości|ał|ła|eli|szcz|rz|cz|ą|ę)"),
    "id": re.compile(r"(?:me[nm]|ber|ter|pe[nm]|di)[a-z]{4,}|.*(?:kan|annya|nya|asi|gkan|ung|uan|han|tara)$"),
    "cs": re.compile(r".*(?:ní|ých|ého|ství|ost|ou|la|ily|ili|ě)$"),
    "ro": re.compile(r".*(?:ului|ilor|ele|ției|ează|ului|escu|ul)$"),
    "hu": re.compile(r".*(?:nak|nek|ban|ben|hoz|ság|ség|ai|ei|ott|ett|ját)$"),
}
"""Endings and letter groups of a language. English has some of them too, so a match counts for little."""


_ENGLISH_SHAPE = re.compile(r"[a-z]{2}(?:ing|ings|ness|ight|ould|ough)$")


def guess_language(text: str) -> str:
    """A BCP 47 primary tag, or ``und`` when there is nothing to go by. Reads the first 600 characters.

    By script: kana make it ``ja``, Hangul ``ko``, Han ``zh`` when they are at least a fifth of the letters; Cyrillic
    (``ru``, or ``uk`` by its letters), Arabic (``ar``, or ``fa``), Hebrew, Greek, Thai and Devanagari when they are
    most of them. Latin letters are ``en`` unless words and letters of another language outweigh the English ones.
    """
    text = text[:READ]
    letters = len(_LETTER.findall(text))
    if not letters:
        return "und"
    if text.isascii():
        return _latin(text)
    counts = {name: len(script.findall(text)) for name, script in _SCRIPTS}
    if counts["ja"] * 10 > letters:
        return "ja"
    if counts["ko"] * 5 > letters:
        return "ko"
    if counts["zh"] * 5 >= letters:
        return "zh"
    if len(_LATIN.findall(text)) * 5 >= letters * 3:
        return _latin(text)
    name = max(counts, key=lambda key: counts[key])
    if counts[name] * 2 < letters:
        return "und"
    if name == "ru" and _UKRAINIAN.search(text):
        return "uk"
    return "fa" if name == "ar" and _PERSIAN.search(text) else name


def _latin(text: str) -> str:
    """``en`` unless another language has clearly more of its words and letters in the text."""
    found = _WORD.findall(text)
    capitals = sum(1 for word in found if word[0].isupper())
    shouted = capitals * 10 >= len(found) * 8  # titles or capitals throughout: then capitals say nothing
    english = 0.0
    scores = dict.fromkeys(_WORDS, 0.0)
    for position, word in enumerate(found):
        small = word.lower().replace("’", "'")
        named = word[0].isupper() and position > 0 and not shouted
        known = small in _ENGLISH or small.endswith("'s")
        shaped = not known and _ENGLISH_SHAPE.search(small) is not None
        english += known or 0.5 * shaped
        part = 0.4 if named else 1.0
        worth = part * (_WEAK if small in _IN_NAMES or len(small) == 1 else 1.0)
        stem = _ELISION.sub("", small) if "'" in small else small
        accented = not small.isascii()
        for language, words in _WORDS.items():
            if small in words or stem in words:
                scores[language] += worth
            elif accented and any(char in _LETTERS.get(language, "") for char in small):
                scores[language] += 0.25 if named or shouted else 0.9
            elif (
                not (known or shaped or named)
                and len(small) > 3
                and language in _SHAPES
                and _SHAPES[language].match(small)
            ):
                scores[language] += 0.45
        if stem != small:
            scores["fr"] += 0.6 * part
            scores["it"] += 0.5 * part
    best = max(scores, key=lambda language: scores[language])
    needed = max(1.3, english + 0.1) if english else 0.9
    return best if scores[best] >= needed else "en"
