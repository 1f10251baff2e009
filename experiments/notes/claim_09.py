"""Claim 9, the open doubt: does a VAE that has become a language model miss the minimum of its loss?"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import mean, stdev

import torch
from torch import Tensor
from torch.distributions import Normal

from ladder import EPOCH, RUNGS, Rung, best_of_class, wanted
from notes import HERE, Notes, Page, Row, listed, main, student
from textvae.api import Vae
from textvae.data.batches import Sequences, encode
from textvae.data.corpora import open_corpus
from textvae.data.grammar import Grammar
from textvae.evaluation.estimators import Survey, importance_weighted_nll, standard_error
from textvae.evaluation.exact import exact_nll
from textvae.evaluation.listening import distortion_under
from textvae.evaluation.noise import SentenceNoise
from textvae.plots.figure import BLACK, BLUE, GREEN, GREY, ORANGE, RED, Axes, Figure, canvas, legend
from worlds import some, texts
from worlds import wanted as tiny

SHORT = ("bag_of_words", "window_1", "window_2", "lstm_32")
CURVES, LENGTHS, CURVE_RATE = ("window_2", "lstm_64"), (1, 3, 10, 30, 100), 4.0
COLOURS = dict(
    zip((rung.name for rung in RUNGS), (BLUE, ORANGE, GREEN, RED, "#F0E442", "#CC79A7", "#56B4E9", BLACK), strict=True)
)
SCORED = 200
"""Sentences on which −ELBO and −log p(x) are compared."""
COPIES = range(3)
"""Seeds of the collapsed VAE on the tiny grammar, and of the language model beside it."""
NONE = math.nan


@dataclass(frozen=True)
class Seen:
    """One run on valid and test, sentence by sentence; `loss` is −ELBO, `nll` that of the first SCORED of test."""

    rung: str
    rate: float
    epochs: int
    seed: int
    valid: Tensor
    loss: Tensor
    distortion: Tensor
    paid: Tensor
    nll: Tensor


@dataclass(frozen=True)
class Plan:
    """Which runs: the ladder, and the curve over the number of sentences."""

    rungs: tuple[Rung, ...]
    rates: tuple[float, ...]
    epochs: int
    seeds: int
    curve_seeds: int
    curve: tuple[str, ...]
    counted: int  # sentences behind the best of a class

    @property
    def ladder(self) -> list[tuple[Rung, float, int, int]]:
        return [(rung, rate, self.epochs, seed) for rung in self.rungs for rate in (0.0, *self.rates) for seed in range(self.seeds)]

    @property
    def lengths(self) -> list[tuple[Rung, float, int, int]]:
        return [
            (rung, rate, length, seed)
            for length in LENGTHS for rung in self.rungs if rung.name in self.curve
            for rate in (0.0, CURVE_RATE) for seed in range(self.curve_seeds)
        ]  # fmt: skip


def plan(notes: Notes) -> Plan:
    if notes.full:
        return Plan(RUNGS, (1.0, 2.0, 4.0, 8.0), 10, 5, 3, CURVES, 20_000 if notes.quick else 2_000_000)
    return Plan(tuple(r for r in RUNGS if r.name in SHORT), (2.0, 8.0), 4, 1, 0, (), 20_000 if notes.quick else 500_000)


def claim(notes: Notes) -> Page:
    corpus, runs_ = open_corpus("grammar-stream"), plan(notes)
    assert corpus.grammar is not None
    splits = {split: list(corpus[split])[: 100 if notes.quick else 2000] for split in ("valid", "test")}
    notes.ahead([wanted(*each) for each in (*runs_.ladder, *runs_.lengths)])
    seen = notes.spread(look, [(notes, *each, splits) for each in (*runs_.ladder, *runs_.lengths)])
    for each in (*runs_.ladder, *runs_.lengths):
        notes.noted(wanted(*each))
    runs, curve = seen[: len(runs_.ladder)], seen[len(runs_.ladder) :]
    vae = trained(notes, *runs_.ladder[0])
    truth = exact_nll(splits["test"], vae.tokenizer, corpus.grammar)
    bounds = classes(runs_, corpus.grammar, vae, encoded(vae, splits["test"]))
    rows = {rung.name: line(runs, rung, truth, bounds.get(rung.name)) for rung in runs_.rungs}
    weak, *_, strong = rows.values()
    degrees = (runs_.seeds if runs_.seeds > 1 else len(truth)) - 1
    sure = student(degrees, 0.05 / len(rows))
    pays, costs, unsettled = sorted_out(rows, sure)
    surely = [name for name in pays if rows[name]["min V(r)"] < rows[name]["best of class, at least"] - 3 * rows[name]["± over sentences"]]
    misses = [name for name, row in rows.items() if row["best of class, at least"] > row["H(p*)"] + 3 * standard_error(truth)]
    floor, over = float(truth.mean()), "seeds" if runs_.seeds > 1 else "sentences"
    kept = {name: -evaluated(f"stream-{name}", "elbo") for name in ("lm", "vanilla", "free_bits_total")}
    return Page(
        number=9,
        title="must a collapsed VAE miss the minimum of its loss?",
        claim="When the divergence falls to 0 the model degrades to a language model, and the total loss then cannot reach its theoretical minimum.",
        verdict="false in general, true of weak decoders" if surely else "false in general",
        answer="The minimum H(p*) is reached if and only if the model is p* and the posterior gap is 0, at any rate, also 0. A decoder too weak to express the text alone misses it when it collapses, however long one trains "
        f"({listed(misses)}); with z it does better than anything it could do alone: {listed(surely)}. At this length of training z pays for {listed(pays)}; {f'at the rates tried it does not pay for {listed(costs)}' if costs else 'for no decoder is it shown not to pay'}; {settling(runs_, rows, unsettled)}. "
        f"That a collapsed model *reaches* the minimum they do not show: {strong['decoder']} alone is still {strong['V(0)'] - floor:.1f} nats above it. Nearest comes a longer run that is kept (LSTM of 128, 60 epochs, one seed): "
        f"language model {kept['lm']:.2f}, collapsed VAE {kept['vanilla']:.2f}, with z {kept['free_bits_total']:.2f}, H(p*) {evaluated('stream-lm', 'exact_nll'):.2f}.",
        figure=f"Nats saved by using z, V(0) − min V(r), paired over {len(truth)} test sentences, ± over {over}: {weak['decoder']} {weak['V(0) − min V(r)']:+.2f} ± {weak['± s.e.']:.2f}, {strong['decoder']} "
        f"{strong['V(0) − min V(r)']:+.2f} ± {strong['± s.e.']:.2f}; V(0) − H(p*): {weak['V(0)'] - floor:.2f} and {strong['V(0)'] - floor:.2f}.",
        text=f"""
For any model and any Q

    E[−ELBO] = H(p*) + KL(p*(x) q(z|x) ‖ p(x, z)) ≥ H(p*)

with equality iff p(x) = p*(x) and the posterior gap is 0. Nothing in it asks for a rate above 0. So the doubt is a question about decoders: can this one express p* without z?

Decoders from a bag of words over windows of n words to LSTMs, on the grammar's endless stream ({runs_.epochs} epochs of {EPOCH:,} fresh sentences; seeds: {runs_.seeds}). V(0): the decoder alone (`latent_dim` 0), which is what a
collapsed VAE amounts to. V(r): −ELBO of the same decoder with z, its rate kept from falling under r = {", ".join(f"{rate:g}" for rate in runs_.rates)} by the minimum-rate constraint; r is chosen on valid, V reported on test. Using z pays iff min V(r) < V(0).
`± s.e.` is that of V(0) − min V(r), paired, over {over}; `± over sentences`, that of min V(r) itself, is larger and shared by all that saw the same test sentences. z pays, or does not pay, where the mean difference is
more than {sure:.1f} errors above, or below, 0: Student's t with {degrees:,} degrees of freedom, and one chance in 20 shared among the {len(rows)} decoders looked at (of the two verdicts only one can be false). The rest is not settled{"" if runs_.seeds > 1 else ". Since the errors are over sentences and there is one seed, all three lists are about these runs alone: training anew could change them"}.

Three minima. H(p*) = {floor:.2f} ± {standard_error(truth):.2f}, the exact NLL of the test sentences. `best of class`, what the decoder could do alone at best, for those that see the last n words only (a bag of words sees none): a least
cross-entropy p(w | n words) that is known between two bounds, by counting over {runs_.counted:,} sentences of the stream. *At least*: the best fit to these sentences, scored on themselves, or H(p*) where that is more. *At most*: the test sentences under the same
counts, interpolated with those of lower orders, since raw counts have no probability for what was not seen. The more words, the wider apart: counts need sentences. And the best achieved, chosen on valid.

{reaches(rows, misses, surely, pays)}{lengthened(curve)}

**(9a) The reconstruction term is always worse when z is unused**: {reconstruction(runs)}

**(9b) A smaller total loss is always better**: {reversals(runs)}

**(9c) The collapsed model is a language model disturbed by a random z**: {disturbed(notes)}
""",
        open=f"Whether a collapsed model reaches H(p*) itself: every decoder here and in the kept run is still above it, and the sign of a small difference may change on the way. Rates under {min(runs_.rates):g} nat were not tried. "
        + ("" if notes.full else "One seed and a short ladder settle the weak end only; `make notes-full` has eight decoders, four rates, five seeds and the curve up to two million sentences. ")
        + treebank(notes),
        table=[*rows.values(), *curve_lines(curve, truth)],
        picture=picture(runs, runs_.rungs, rows, curve, floor, sure),
        short=not notes.full,
        holds={
            "nothing is below H(p*)": all(
                float((run.loss - truth).mean()) > -3 * standard_error(run.loss - truth) for run in (*runs, *curve)
            ),
        }
        | ({} if notes.quick else shown(list(rows.values()))),
    )


def shown(found: Sequence[Row]) -> dict[str, bool]:
    """What the page says of the decoders of its table (those of the curve have no best of class)."""
    rows = [row for row in found if not math.isnan(row["min V(r)"])]
    known = [row for row in rows if not math.isnan(row["at most"])]
    weak, *_, strong = rows
    return {
        "no decoder alone beats the best of its class": all(
            row["V(0)"] > row["best of class, at least"] - 3 * row["± over sentences"] for row in known
        ),
        "the bounds are in order": all(row["best of class, at least"] < row["at most"] + 3 * row["at most, ±"] for row in known),
        "the weakest decoder needs z": weak["min V(r)"] < weak["best of class, at least"] - 3 * weak["± over sentences"],
        "and does not reach the minimum without": weak["best of class, at least"] > weak["H(p*)"] + 3 * weak["± over sentences"],
        "what z saves falls along the ladder": strong["V(0) − min V(r)"] < weak["V(0) − min V(r)"],
    }


def sorted_out(rows: dict[str, Row], sure: float) -> tuple[list[str], list[str], list[str]]:
    """The decoders for which z pays, for which it does not, and for which that is not settled."""
    errors = {name: row["V(0) − min V(r)"] / row["± s.e."] for name, row in rows.items()}
    pays, costs = ([name for name, error in errors.items() if sign * error > sure] for sign in (1, -1))
    return pays, costs, [name for name in rows if name not in (*pays, *costs)]


def settling(runs_: Plan, rows: dict[str, Row], unsettled: list[str]) -> str:
    """What was found of the decoders for which nothing is settled."""
    found = [f"{name} {rows[name]['V(0) − min V(r)']:+.2f} ± {rows[name]['± s.e.']:.2f}" for name in unsettled]
    return f"not settled by {'these seeds' if runs_.seeds > 1 else 'this one seed'}: {listed(found)}"


def trained(notes: Notes, rung: Rung, rate: float, epochs: int, seed: int) -> Vae:
    name, recipes, options = wanted(rung, rate, epochs, seed)
    return notes.trained(name, *recipes, **options)


def look(notes: Notes, rung: Rung, rate: float, epochs: int, seed: int, splits: dict[str, list[str]]) -> Seen:
    vae = trained(notes, rung, rate, epochs, seed)
    valid, test, scored = (encoded(vae, lines) for lines in (splits["valid"], splits["test"], splits["test"][:SCORED]))
    noise = SentenceNoise(0, vae.latent_dim)
    seen = Survey.of(vae.model, test, noise)
    return Seen(
        rung.name, rate, epochs, seed, -Survey.of(vae.model, valid, noise).elbo, (-seen.elbo).double(), seen.distortion, seen.rate,
        importance_weighted_nll(vae.model, scored, 20, noise).double(),
    )  # fmt: skip


def classes(runs_: Plan, grammar: Grammar, vae: Vae, test: Sequences) -> dict[str, tuple[float, float, float]]:
    """The least cross-entropy of each class whose memory is short: from below, from above, the latter's standard error."""
    seen = encode((sentence.text for sentence in islice(grammar.stream(2025), runs_.counted)), vae.tokenizer)
    entropy = float(exact_nll([vae.tokenizer.decode(test[i][:-1].tolist()) for i in range(len(test))], vae.tokenizer, grammar).mean())
    found = {}
    for rung in runs_.rungs:
        if rung.order is not None:
            least, costs = best_of_class(rung.order, seen, test, vae.tokenizer.size)
            found[rung.name] = max(least, entropy), float(costs.mean()), standard_error(torch.from_numpy(costs))
    return found


def encoded(vae: Vae, sentences: list[str]) -> Sequences:
    return encode(sentences, vae.tokenizer, vae.config.data.max_length)


def paid(run: Seen) -> float:
    return float(run.paid.mean())


def on_valid(run: Seen) -> float:
    return float(run.valid.mean())


def base(runs: list[Seen], run: Seen) -> Seen:
    """The same decoder without z."""
    return next(each for each in runs if (each.rung, each.seed, each.rate) == (run.rung, run.seed, 0.0))


def chosen(runs: list[Seen]) -> list[Seen]:
    """For each seed the run with z whose valid −ELBO is least."""
    seeds_ = sorted({run.seed for run in runs})
    return [min((run for run in runs if run.seed == seed and run.rate), key=on_valid) for seed in seeds_]


def line(runs: list[Seen], rung: Rung, truth: Tensor, bounds: tuple[float, float, float] | None) -> Row:
    """A decoder in one row: means over seeds; errors over seeds, or over sentences where there is one seed."""
    own = [run for run in runs if run.rung == rung.name]
    picks = chosen(own)
    bases = [base(own, pick) for pick in picks]
    saved, saved_se = summed([b.loss - p.loss for b, p in zip(bases, picks, strict=True)])
    least, most, most_se = bounds or (NONE, NONE, NONE)
    best = [min((run for run in own if run.seed == pick.seed), key=on_valid) for pick in picks]
    return {
        "decoder": rung.name, "seeds": len(picks), "epochs": picks[0].epochs, "V(0)": summed([b.loss for b in bases])[0],
        **{f"V({rate:g})": summed([run.loss for run in own if run.rate == rate])[0] for rate in sorted({run.rate for run in own} - {0.0})},
        "min V(r)": summed([p.loss for p in picks])[0], "± over sentences": standard_error(picks[0].loss), "r chosen": "/".join(f"{p.rate:g}" for p in picks), "rate": mean(map(paid, picks)),
        "distortion": summed([p.distortion for p in picks])[0], "V(0) − min V(r)": saved, "± s.e.": saved_se,
        "best of class, at least": least, "at most": most, "at most, ±": most_se, "best achieved": summed([run.loss for run in best])[0], "H(p*)": float(truth.mean()),
    }  # fmt: skip


def summed(values: list[Tensor]) -> tuple[float, float]:
    """Mean over runs, and its standard error over them; over the sentences of a single one."""
    means = [float(each.mean()) for each in values]
    return mean(means), stdev(means) / math.sqrt(len(means)) if len(means) > 1 else standard_error(values[0])


def curve_lines(curve: list[Seen], truth: Tensor) -> list[Row]:
    """The points of the curve over the number of sentences: V(0) and V at one rate, by decoder and length."""
    found = []
    for rung, epochs in dict.fromkeys((run.rung, run.epochs) for run in curve):
        own = [run for run in curve if (run.rung, run.epochs) == (rung, epochs)]
        alone, held = ([run for run in own if bool(run.rate) == z] for z in (False, True))
        saved, saved_se = summed([a.loss - b.loss for a, b in zip(alone, held, strict=True)])
        found.append({
            "decoder": f"{rung}, {epochs * EPOCH // 1000}k sentences", "seeds": len(alone), "epochs": epochs, "V(0)": summed([run.loss for run in alone])[0],
            f"V({CURVE_RATE:g})": summed([run.loss for run in held])[0], "r chosen": f"{CURVE_RATE:g}", "rate": mean(map(paid, held)),
            "distortion": summed([run.distortion for run in held])[0], "V(0) − min V(r)": saved, "± s.e.": saved_se, "H(p*)": float(truth.mean()),
        })  # fmt: skip
    return found


def reaches(rows: dict[str, Row], misses: list[str], surely: list[str], pays: list[str]) -> str:
    """What the three minima say of the decoders whose best is known between bounds."""
    known = [row for row in rows.values() if not math.isnan(row["at most"])]
    said = "; ".join(
        f"{row['decoder']} {row['best of class, at least']:.1f} to {row['at most']:.1f}, with z {row['min V(r)']:.1f}" for row in known
    )
    unsure = [name for name in pays if name not in surely]
    return (
        f"Best alone, and achieved with z: {said}. Where the first lies surely above H(p*) ({listed(misses)}), the collapsed model misses the minimum, however long one trains. Where the second lies surely below the first ({listed(surely)}), z makes good a part of it."
        + (f" For {listed(unsure)} that is not shown: z pays at this length of training, which longer training of the decoder alone could undo." if unsure else "")
    )


def lengthened(curve: list[Seen]) -> str:
    """What the number of sentences does to V(0) − V(r), where the curve was trained."""
    said = []
    for rung in dict.fromkeys(run.rung for run in curve):
        ends = []
        for epochs in (LENGTHS[0], LENGTHS[-1]):
            alone, held = ([r.loss for r in curve if (r.rung, r.epochs, bool(r.rate)) == (rung, epochs, z)] for z in (False, True))
            saved, error = summed([a - b for a, b in zip(alone, held, strict=True)])
            ends.append(f"{saved:+.2f} ± {error:.2f} after {epochs * EPOCH:,} sentences")
        said.append(f"{rung} {' and '.join(ends)}")
    return f" The last rows follow training at r = {CURVE_RATE:g} on ever more fresh sentences: V(0) − V(r) is {'; '.join(said)}." if said else ""


def reconstruction(runs: list[Seen]) -> str:
    pairs = [(run, base(runs, run)) for run in runs if run.rate and paid(run) > 1]
    lower = [float((alone.loss - run.distortion).mean()) > 3 * standard_error(alone.loss - run.distortion) for run, alone in pairs]
    return (
        f"true of {sum(lower)} of the {len(lower)} runs here that pay more than a nat for z, by more than three standard errors (columns V(0) and distortion at the r chosen). "
        "But the difference is a gain only beyond the rate that pays for it."
    )


def reversals(runs: list[Seen]) -> str:
    """Where a decoder alone has the smaller −ELBO and yet the larger −log p(x), on the same sentences.

    Its own −log p(x) is exact, that with z a bound from above, so that the difference is at least what is said.
    """
    pairs = [(base(runs, run), run) for run in runs if run.rate]
    surely = float(Normal(0.0, 1.0).icdf(torch.tensor(1 - 0.05 / (2 * len(pairs)), dtype=torch.float64)))
    found = []
    for alone, held in pairs:
        loss, nll = (alone.loss - held.loss)[:SCORED], alone.nll - held.nll
        if float(loss.mean()) < -surely * standard_error(loss) and float(nll.mean()) > surely * standard_error(nll):
            found.append(
                f"{alone.rung} without z has the smaller loss, by {-float(loss.mean()):.2f} ± {standard_error(loss):.2f} nats, and the larger −log p(x), by at least {float(nll.mean()):.2f} ± {standard_error(nll):.2f}, than at r = {held.rate:g}"
            )
    looked = f"(importance weights, 20 samples, the same {len(pairs[0][0].nll)} sentences for both; {len(pairs)} pairs looked at, each difference beyond {surely:.1f} standard errors, so that the 5 % of chance are shared among all)"
    return (
        "no, by the identity above: the loss also holds the posterior gap, and the better model may have the larger one. "
        + (f"An example: {found[0]} {looked}." if found else f"In these runs no pair is surely so {looked}; it needs no more than a gap that outweighs what z saves.")
    )


def disturbed(notes: Notes) -> str:
    """(9c): collapsed VAEs under a random z, under z = 0, and language models; then what is known of Penn Treebank."""
    random, alone = zip(*[apart(notes, seed) for seed in COPIES], strict=True)
    lm = -evaluated("ptb-lm", "elbo")
    behind = [-evaluated(f"ptb-{name}", "elbo") - lm for name in ("linear", "vanilla")]
    loss, nll = -evaluated("ptb-vanilla", "elbo"), evaluated("ptb-vanilla", "iwae_nll")
    longer = evaluated("ptb-converged-lm", "elbo") - evaluated("ptb-converged-vanilla", "elbo")
    return (
        f"a random z hardly disturbs it, but on Penn Treebank the decoder that has learned beside one is a worse language model. On the tiny grammar −log p(x|z) of 500 test sentences under a z drawn from the prior exceeds that under z = 0 by {seeds(random)} nats, and that of a language model of the same size, trained apart, by {seeds(alone)} "
        f"(mean over {len(COPIES)} seeds ± the standard error over seeds, paired over sentences; seed by seed {', '.join(f'{float(each.mean()):+.3f}' for each in alone)}). On the grammar's stream, after 60 epochs, the kept pair is {evaluated('stream-lm', 'elbo') - evaluated('stream-vanilla', 'elbo'):.2f} nats apart. "
        f"On Penn Treebank, after six epochs, two kept collapsed VAEs, whose decoders do not listen (G = 0), are {behind[0]:.1f} and {behind[1]:.1f} nats behind the language model of their size, and after 100 epochs one is {longer:.1f} behind (`experiments/LOG.md`; one seed each). Of the {loss - lm:.1f}, "
        f"{loss - nll:.1f} go once z is averaged out (importance weights, {evaluated('ptb-vanilla', 'iwae_samples'):.0f} samples), and {nll - lm:.1f} stay. What stays once valid has stopped improving, over seeds, and why (the random z at every input while the decoder learns): [Penn Treebank](ptb-equivalence.md)."
    )


def apart(notes: Notes, seed: int) -> tuple[Tensor, Tensor]:
    """What a random z costs a collapsed VAE against z = 0, and against a language model, by sentence."""
    mark, again = (f"-{seed}", {"seed": seed}) if seed else ("", {})
    vae, lm = texts(notes, [tiny(notes, f"collapsed{mark}", "vanilla", **again), tiny(notes, f"lm{mark}", "lm", objective__penalty__kind="rate", **again)])
    sequences = some(vae, notes, 500)
    z = torch.randn(len(sequences), vae.latent_dim, generator=torch.Generator().manual_seed(seed)).double()
    drawn, still = (distortion_under(vae.model, sequences, code) for code in (z, torch.zeros_like(z)))
    return drawn - still, drawn - distortion_under(lm.model, sequences, z[:, :0])


def evaluated(run: str, name: str) -> float:
    """A number of the test split that is kept of a run."""
    kept = json.loads((HERE.parent / "results" / run / "evaluation.json").read_text("utf-8"))
    return float(kept["test"][name])


def treebank(notes: Notes) -> str:
    page: Path = notes.out / "ptb-equivalence.md"
    if page.exists():
        return f"Penn Treebank, where p* is unknown, is asked for equivalence alone: {page.read_text('utf-8').split('**')[1]} ([page]({page.name}))."
    return "Penn Treebank, where p* is unknown, is asked for equivalence alone: `experiments/notes/ptb_equivalence.py`, not run here."


def seeds(values: tuple[Tensor, ...]) -> str:
    found, error = summed(list(values))
    return f"{found:+.3f} ± {error:.3f}"


def picture(runs: list[Seen], rungs: tuple[Rung, ...], rows: dict[str, Row], curve: list[Seen], entropy: float, sure: float) -> Figure:
    figure, (left, right, *more) = canvas(3 if curve else 2)
    for place, rung in enumerate(rungs):
        colour = COLOURS[rung.name]
        own = [run for run in runs if run.rung == rung.name]
        points = [(rate, *summed([run.loss for run in own if run.rate == rate])) for rate in sorted({run.rate for run in own})]
        bars(left, points, colour, rung.name)
        row = rows[rung.name]
        right.errorbar(place, row["V(0) − min V(r)"], yerr=sure * row["± s.e."], fmt="o", color=colour, capsize=4)
    left.axhline(entropy, color=GREY, linestyle="--", label="H(p*)")
    left.set(xlabel="r, 0 is the decoder alone", ylabel="V(r) = −ELBO, nats", title="V(r) by decoder, ± 2 s.e.")
    right.axhline(0, color=GREY)
    right.set_xticks(range(len(rungs)), [rung.name for rung in rungs], rotation=30, fontsize=8)
    right.set(ylabel="V(0) − min V(r), nats", title=f"above 0, using z pays (± {sure:.1f} s.e.)")
    figure.legend(handles=left.get_legend_handles_labels()[0], loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    for axes in more:
        lengths(axes, curve, entropy)
    return figure


def bars(axes: Axes, points: list[tuple[float, float, float]], colour: str, label: str, style: str = "o-") -> None:
    """(x, mean, standard error): ± two of them."""
    x, height, error = zip(*points, strict=True)
    axes.errorbar(x, height, yerr=[2 * each for each in error], fmt=style, color=colour, capsize=3, label=label)


def lengths(axes: Axes, curve: list[Seen], entropy: float) -> None:
    """V against the number of sentences seen in training."""
    for name in CURVES:
        for rate, style in ((0.0, "o-"), (CURVE_RATE, "x--")):
            own = [run for run in curve if (run.rung, run.rate) == (name, rate)]
            points = [(epochs * EPOCH, *summed([run.loss for run in own if run.epochs == epochs])) for epochs in LENGTHS]
            bars(axes, points, COLOURS[name], f"{name}, {f'r = {rate:g}' if rate else 'alone'}", style)
    axes.axhline(entropy, color=GREY, linestyle="--")
    axes.set(xscale="log", xlabel="sentences trained on", ylabel="V, nats", title="no sentence seen twice")
    legend(axes)


if __name__ == "__main__":
    main(claim)
