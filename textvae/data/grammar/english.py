"""Rules of the embedded corpus: news with six factors, each visible in several places of a sentence.

topic      words throughout: who acts, on what, where and why; some words are shared by all topics
tense      every finite verb and the time adverbials
number     the subject noun, its verb, and the pronouns that refer to it
polarity   verbs, adjectives and attitudes; one word in ten has the opposite polarity
certainty  modal verbs, verbs of saying, adverbs: a firm sentence never hedges, a hedged one may
frame      a plain sentence, a reported one, or one linked to a reason or a contrast

The factors do not determine the remaining choices of noun, adjective or adverbial. Rules defined elsewhere
are the lists of words, named by list, polarity and form (`{agent_noun.plural}`, `{mood.bad}`; without a
polarity, that of the sentence; with `contrary_`, the opposite), and the predicates of `AGREEING`.
"""

from collections.abc import Mapping, Sequence

__all__ = ["AGREEING", "AGREEMENT", "COUPLINGS", "FACTORS", "RULES"]

FACTORS: Mapping[str, Mapping[str, float]] = {
    "topic": {
        "markets": 18,
        "earnings": 17,
        "politics": 14,
        "technology": 12,
        "courts": 11,
        "health": 10,
        "energy": 10,
        "sport": 8,
    },
    "tense": {"past": 5, "present": 3, "future": 2},
    "number": {"singular": 1, "plural": 1},
    "polarity": {"good": 11, "bad": 9},
    "certainty": {"firm": 3, "hedged": 2},
    "frame": {"plain": 4, "reported": 3, "linked": 3},
}

COUPLINGS: Sequence[str] = (
    "2/1 | topic=courts,sport tense=past",
    "2/1 | tense=future certainty=hedged",
    "1.5/1 | topic=markets,earnings number=plural",
    "1.5/1 | topic=courts polarity=bad",
)

SENTENCES: Mapping[str, str] = {
    "sentence": """
        6 {clause} {tail}                     | frame=plain
        2 {adverb} {clause} {tail}            | frame=plain
        1 {when} {clause} {untimed_tail}      | frame=plain
        5 {report} {clause} {short_tail:.7}   | frame=reported
        2 {clause} {short_tail:.7} {report}   | frame=reported
        1 according to {source} {clause}      | frame=reported
        4 {clause} {link}                     | frame=linked
        2 {deed} {motive}                     | frame=linked
        2 {fronted} {clause} {short_tail:.4}  | frame=linked
    """,
    "clause": """
        9/1 {movement}       | topic=markets,earnings
        4 {movement}         | topic=energy,technology
        6 {deed}
        2 {passive} by {anyone}
    """,
    "movement": """
        {thing} {changes} {extent}
    """,
    "deed": """
        4 {agent} {acts} {object}
        1 {agent} {be} {attitude} about {object}
    """,
    "passive": """
        {definite_object.singular} {be.singular} {act.past} | number=singular
        {definite_object.plural} {be.plural} {act.past}     | number=plural
    """,
    "extent": """
        5 N %
        3 by N %
        2 to {money}
        2 N points       | topic=markets
        3 {pace} {manner}
    """,
    "money": """
        3 $ N million
        2 $ N billion
        1 $ N a share
    """,
}

ADVERBIALS: Mapping[str, str] = {
    "adverb": """
        2 {adverb_plain}
        3 {adverb_firm}   | certainty=firm
        3 {adverb_hedged} | certainty=hedged
    """,
    "adverb_plain": "~ meanwhile however separately in_addition",
    "adverb_firm": "~ indeed clearly as_expected",
    "adverb_hedged": "~ perhaps apparently reportedly in_theory",
    "tail": """
        6 {untimed_tail}
        4 {when}
        2 {place} {when}
    """,
    "untimed_tail": """
        3 ε
        3 {place}
        2 {reason}
    """,
    "short_tail": """
        3 {when}
        2 {place}
    """,
    "when": """
        6 {past_time}    | tense=past
        6 {present_time} | tense=present
        6 {future_time}  | tense=future
        2 on {weekday}   | tense=past,future
        2 in {month}     | tense=past,future
        1 in the {ordinal} quarter
        1 this {period}
    """,
    "past_time": "~ yesterday last_week last_year last_month a_year_ago N_days_ago in_N earlier_this_year",
    "present_time": "~ now today this_week currently these_days so_far_this_year at_the_moment",
    "future_time": "~ next_year next_week soon tomorrow in_the_coming_weeks by_year_end within_N_months",
    "period": "~ year week month quarter season",
    "reason": """
        3 because of {mood} {cause}
        2 amid {mood} {cause}
        1 despite {contrary_mood} {cause}
    """,
}

LINKS: Mapping[str, str] = {
    "link": """
        3 as {cause} {changes.singular} {short_tail:.4}
        3 after {event}
        2 although {cause} {contrary_changes.singular} {short_tail:.4}
        2 while {thing.singular} {changes.singular}
        2 while {thing.plural} {changes.plural}
        1 {reason}
    """,
    "motive": """
        3 because {pronoun} {acts} {object}
        1 and {pronoun} {acts} {object}
    """,
    "fronted": """
        2 as {cause} {changes.singular}
        2 although {cause} {contrary_changes.singular}
        1 because {cause} {changes.singular}
        1 after {mood} {cause} {when}
    """,
    "event": """
        1 {one.singular} {acts.singular} {definite_object}
        1 {one.plural} {acts.plural} {definite_object}
    """,
    "pronoun": """
        it   | number=singular
        they | number=plural
    """,
    "its": """
        its   | number=singular
        their | number=plural
    """,
}

REPORTS: Mapping[str, str] = {
    "report": """
        1 {source.singular} {says.singular}
        1 {source.plural} {says.plural}
    """,
    "source": """
        1 {source.singular}
        1 {source.plural}
    """,
    "source.singular": """
        3 {source_noun.a}
        2 {source_noun.a} at {name}
        2 the {source_noun}
        3 {name}
        2 mr. {surname}
        1 ms. {surname}
    """,
    "source.plural": """
        5 {source_noun.plural}
        2 some {source_noun.plural}
        1 {agent_adjective} {source_noun.plural}
        1 {source_noun.plural} at {name}
    """,
}

NOUN_PHRASES: Mapping[str, str] = {
    "agent": """
        9 {agent.singular} | number=singular
        9 {agent.plural}   | number=plural
        1 the {agent_adjective:.4} {collective}
    """,
    "agent.singular": """
        5 the {agent_adjective:.4} {agent_noun}
        2 {agent_adjective.a} {agent_noun}
        2 {agent_noun.a}
        4 {name}
    """,
    "agent.plural": """
        4 {agent_noun.plural}
        3 {agent_adjective} {agent_noun.plural}
        2 {several} {agent_adjective:.5} {agent_noun.plural}
        2 the {agent_noun.plural}
    """,
    "anyone": """
        1 {one.singular}
        1 {one.plural}
    """,
    "one.singular": """
        2 the {agent_noun}
        1 {agent_noun.a}
        1 {name}
    """,
    "one.plural": """
        1 {agent_noun.plural}
        1 {agent_adjective} {agent_noun.plural}
    """,
    "several": "~ several two most some many N",
    "thing": """
        {thing.singular} | number=singular
        {thing.plural}   | number=plural
    """,
    "thing.singular": """
        5 the {noun_adjective:.4} {thing_noun}
        0/2 {name} 's {thing_noun} | topic=markets
    """,
    "thing.plural": """
        4 {thing_noun.plural}
        2 {epithet} {thing_noun.plural}
        0/1 {name} 's {thing_noun.plural} | topic=markets
    """,
    "object": """
        4 {definite_object}
        2 {its} {epithet:.5} {object_noun}
        2 {its} {epithet:.5} {object_noun.plural}
    """,
    "definite_object": """
        1 {definite_object.singular}
        1 {definite_object.plural}
    """,
    "definite_object.singular": """
        4 the {epithet:.5} {object_noun}
        2 {object_noun.a}
        2 {noun_adjective.a} {object_noun}
        1 {mood.a} {object_noun}
    """,
    "definite_object.plural": """
        4 {epithet} {object_noun.plural}
        2 {several} {object_noun.plural}
        1 the {object_noun.plural}
    """,
    "epithet": """
        3 {noun_adjective}
        2 {mood}
    """,
}

RULES: Mapping[str, str] = {**SENTENCES, **ADVERBIALS, **LINKS, **REPORTS, **NOUN_PHRASES}

PREDICATE = """
    6 {VERB.past}            | tense=past
    1 WAS {VERB.gerund}      | tense=past
    2 reportedly {VERB.past} | tense=past certainty=hedged
    2 appeared to {VERB}     | tense=past certainty=hedged
    4 {VERB.present}         | tense=present
    3 IS {VERB.gerund}       | tense=present
    2 may be {VERB.gerund}   | tense=present certainty=hedged
    2 APPEARS to {VERB}      | tense=present certainty=hedged
    6 will {VERB}            | tense=future certainty=firm
    1 IS to {VERB}           | tense=future
    1 will {VERB}            | tense=future certainty=hedged
    3 may {VERB}             | tense=future certainty=hedged
    2 could {VERB}           | tense=future certainty=hedged
    1 might {VERB}           | tense=future certainty=hedged
"""
"""The predicate of a subject; VERB stands for a list of verbs."""

AGREEING: Mapping[str, str] = {
    "acts": PREDICATE.replace("VERB", "act"),
    "changes": PREDICATE.replace("VERB", "change"),
    "contrary_changes": PREDICATE.replace("VERB", "contrary_change"),
    "says": """
        {say.past}    | tense=past,future
        {say.present} | tense=present,future
    """,
    "be": """
        3 WAS           | tense=past
        2 seemed to be  | tense=past certainty=hedged
        3 IS            | tense=present
        2 APPEARS to be | tense=present certainty=hedged
        3 will be       | tense=future certainty=firm
        2 may be        | tense=future certainty=hedged
        1 could be      | tense=future certainty=hedged
        1 might be      | tense=future certainty=hedged
    """,
}
"""Rules that agree with the subject: `{be.singular}`, `{be.plural}`, and `{be}` by the number factor."""

AGREEMENT: Mapping[str, Mapping[str, str]] = {
    "singular": {"WAS": "was", "IS": "is", "APPEARS": "appears", ".present": ".third"},
    "plural": {"WAS": "were", "IS": "are", "APPEARS": "appear", ".present": ""},
}
