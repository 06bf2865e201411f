"""Compares language tags of manifests (BCP 47: `en`, `pt-BR`) and of media streams (ISO 639-2: `eng`, `ger`, `deu`)."""

# ISO 639-1, then its ISO 639-2 codes: the terminological and, where it differs, the bibliographic one.
_CODES = """
af afr, am amh, ar ara, as asm, az aze, be bel, bg bul, bn ben, bo bod tib, br bre, bs bos, ca cat, cs ces cze,
cy cym wel, da dan, de deu ger, el ell gre, en eng, eo epo, es spa, et est, eu eus baq, fa fas per, fi fin, fo fao,
fr fra fre, fy fry, ga gle, gd gla, gl glg, gu guj, ha hau, he heb, hi hin, hr hrv, ht hat, hu hun, hy hye arm, id ind,
ig ibo, is isl ice, it ita, ja jpn, jv jav, ka kat geo, kk kaz, km khm, kn kan, ko kor, ku kur, ky kir, la lat, lb ltz,
ln lin, lo lao, lt lit, lv lav, mg mlg, mi mri mao, mk mkd mac, ml mal, mn mon, mr mar, ms msa may, mt mlt,
my mya bur, ne nep, nl nld dut, no nor nob nno nb nn, oc oci, or ori, pa pan, pl pol, ps pus, pt por, ro ron rum,
ru rus, rw kin, sa san, sd snd, si sin, sk slk slo, sl slv, sn sna, so som, sq sqi alb, sr srp, st sot, su sun, sv swe,
sw swa, ta tam, te tel, tg tgk, th tha, ti tir, tk tuk, tl tgl fil, tr tur, tt tat, ug uig, uk ukr, ur urd, uz uzb,
vi vie, wo wol, xh xho, yi yid, yo yor, zh zho chi cmn yue, zu zul
"""
_SHORT = {code: codes.split()[0] for codes in _CODES.split(",") for code in codes.split()}


def is_language(tag: str) -> bool:
    """Whether a tag begins with a language code of the list above.

    >>> is_language("pt-BR"), is_language("deu"), is_language("german")
    (True, True, False)
    """
    name = tag.replace("_", "-").split("-")[0].lower()
    return name in _SHORT or name in _SHORT.values()


def same_language(tag: str | None, other_tag: str | None) -> bool:
    """Whether two tags name the same language, in any region or script. False for a missing or undetermined tag.

    >>> same_language("de-AT", "ger"), same_language("en", "und")
    (True, False)
    """
    names = [short_tag(name or "und") for name in (tag, other_tag)]
    return names[0] != "und" and names[0] == names[1]


def short_tag(tag: str) -> str:
    """The shortest code of a tag's language, without region and script.

    >>> short_tag("pt-BR"), short_tag("ger"), short_tag("und")
    ('pt', 'de', 'und')
    """
    name = tag.replace("_", "-").split("-")[0].lower()
    return _SHORT.get(name, name)
