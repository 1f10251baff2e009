"""English inflection of a lexicon entry: a lemma and, after colons, its irregular forms.

A noun is `lemma` or `lemma:plural` (`man:men`), a verb `lemma`, `lemma:past` (`rise:rose`) or
`lemma:past:gerund` (`slip:slipped:slipping`); the past participle equals the past.
"""

__all__ = ["gerund", "indefinite", "lemma", "past", "plural", "third_person"]

VOWELS = "aeiou"
SPOKEN_AS_CONSONANT = ("eu", "uni", "uti")


def lemma(entry: str) -> str:
    """The dictionary form: singular of a noun, base form of a verb."""
    return entry.split(":")[0]


def plural(noun: str) -> str:
    """trader → traders, agency → agencies, man:men → men."""
    return _irregular(noun, 1) or _with_s(lemma(noun))


def indefinite(noun: str) -> str:
    """trader → a_trader, agency → an_agency, unit → a_unit."""
    word = lemma(noun)
    return f"an_{word}" if word[0] in VOWELS and not word.startswith(SPOKEN_AS_CONSONANT) else f"a_{word}"


def third_person(verb: str) -> str:
    """climb → climbs, slash → slashes, carry → carries."""
    return _with_s(lemma(verb))


def past(verb: str) -> str:
    """climb → climbed, raise → raised, deny → denied, rise:rose → rose."""
    word = lemma(verb)
    return _irregular(verb, 1) or (f"{word}d" if word.endswith("e") else f"{_y_to_i(word)}ed")


def gerund(verb: str) -> str:
    """climb → climbing, raise → raising, slip:slipped:slipping → slipping."""
    word = lemma(verb)
    return _irregular(verb, 2) or (f"{word[:-1]}ing" if word.endswith("e") else f"{word}ing")


def _irregular(entry: str, place: int) -> str:
    forms = entry.split(":")
    return forms[place] if len(forms) > place else ""


def _with_s(word: str) -> str:
    stem = _y_to_i(word)
    return f"{stem}es" if stem != word or word.endswith(("s", "x", "z", "ch", "sh")) else f"{word}s"


def _y_to_i(word: str) -> str:
    return f"{word[:-1]}i" if word.endswith("y") and word[-2] not in VOWELS else word
