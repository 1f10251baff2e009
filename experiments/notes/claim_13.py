"""Claim 13: decoding z and the most likely sentence."""

import heapq
from collections.abc import Sequence
from itertools import count

import torch
from torch import Tensor

from notes import Notes, Page, Row, main
from textvae.data.batches import collate
from textvae.data.tokenizers import BOS, EOS
from textvae.generation import beam_search, generate, greedy, sampling
from textvae.models.decoders import Decoder
from textvae.models.decoders.decoder import State
from textvae.models.modes import inert
from textvae.plots.figure import BLUE, GREEN, ORANGE, RED, Figure, canvas, legend
from worlds import TINY, pair

LONGEST = 12
WAYS = ("greedy", "beam of 2", "beam of 5", "a draw")


def claim(notes: Notes) -> Page:
    codes, longest = (5, 4) if notes.quick else (80, LONGEST)
    found: list[Row] = []
    misses: dict[tuple[str, str], Tensor] = {}
    for world, vae in pair(notes).items():
        decoder, z = vae.model.decoder, torch.randn(codes, 2, generator=torch.Generator().manual_seed(1)).double()
        modes = [mode(decoder, each, longest) for each in z.split(1)]
        best = torch.tensor([value for value, _ in modes], dtype=torch.float64)
        made = {
            "greedy": generate(decoder, z, greedy, longest),
            "beam of 2": beam_search(decoder, z, 2, longest),
            "beam of 5": beam_search(decoder, z, 5, longest),
            "a draw": generate(decoder, z, sampling(torch.Generator().manual_seed(2)), longest),
        }
        for way in WAYS:
            missed = best - scores(decoder, z, made[way], longest)
            misses[world, way] = missed
            hit = (missed < 1e-6).double()
            grammatical = [TINY.log_prob(vae.tokenizer.decode(row)) > -1e9 for row in made[way]]
            found.append({
                "model": world, "way": way, "z": codes, "is the mode": float(hit.mean()),
                "is the mode, se": float(hit.std() / codes**0.5), "nats missed": float(missed.mean()),
                "nats missed, se": float(missed.std() / codes**0.5), "most nats missed": float(missed.max()),
                "grammatical": sum(grammatical) / codes, "different sentences": len(set(map(tuple, made[way]))),
            })  # fmt: skip
        found.append({
            "model": world, "way": "the mode", "z": codes, "is the mode": 1.0, "is the mode, se": 0.0, "nats missed": 0.0,
            "nats missed, se": 0.0, "most nats missed": 0.0,
            "grammatical": sum(TINY.log_prob(vae.tokenizer.decode(row)) > -1e9 for _, row in modes) / codes,
            "different sentences": len({tuple(row) for _, row in modes}),
        })  # fmt: skip
        if world == "alive":
            share = best.exp().mean()
    by = keyed(found)
    first, wide, draw = (by["alive", way] for way in ("greedy", "beam of 5", "a draw"))
    return Page(
        number=13,
        title="decoding z and the most likely sentence",
        claim="Decoding z gives the most likely sample.",
        verdict="false",
        answer="Greedy decoding takes the most likely next word, which is not always the way to the most likely sentence; a beam of 5 comes nearer. And the most "
        f"likely sentence is itself no typical one: here it has {share:.0%} of the probability, on average over z.",
        figure=f"The sentence found is the mode for {first['is the mode']:.1%} ± {first['is the mode, se']:.1%} of z (greedy), {wide['is the mode']:.1%} ± "
        f"{wide['is the mode, se']:.1%} (beam of 5); greedy misses {first['nats missed']:.3f} ± {first['nats missed, se']:.3f} nats on average and "
        f"{first['most nats missed']:.2f} at worst, a draw misses {draw['nats missed']:.2f} ± {draw['nats missed, se']:.2f}.",
        text=f"""
Two VAEs on a tiny grammar of 44 words, one whose decoder listens to z and one that collapsed, and {codes} z from the prior. The exact mode of p(x|z) is found by
going through all beginnings of sentences in the order of their probability: the first to be complete is the mode, since a probability only falls as words are
added. Against its log-probability, those of greedy decoding, of beams, and of one draw at temperature 1.
""",
        open="On long sentences and large vocabularies the mode is out of reach, and there it is known to be degenerate, often empty, in machine translation (Stahlberg & Byrne 2019); nothing "
        "of that shows at this size.",
        table=found,
        picture=picture(misses),
        holds={"nothing beats the mode": all(float(missed.min()) > -1e-6 for missed in misses.values())}
        | (sound(found) if notes.quick else shown(found)),
    )


def keyed(found: Sequence[Row]) -> dict[tuple[str, str], Row]:
    return {(row["model"], row["way"]): row for row in found}


def sound(found: Sequence[Row]) -> dict[str, bool]:
    """What holds of a few z, too."""
    missed = {way: keyed(found)["alive", way]["nats missed"] for way in WAYS}
    return {
        "a beam of 5 is no worse": missed["beam of 5"] <= missed["greedy"] + 1e-6,
        "draws are not modes": missed["a draw"] > 0.1,
    }


def shown(found: Sequence[Row]) -> dict[str, bool]:
    """What the page says of its table."""
    greedy_ = [keyed(found)[world, "greedy"]["is the mode"] for world in ("alive", "collapsed")]
    return sound(found) | {"greedy misses it now and then": min(greedy_) < 1}


def mode(decoder: Decoder, z: Tensor, longest: int) -> tuple[float, list[int]]:
    """The most likely sentence (log p, words) of at most `longest` words under one z (1, D), exactly."""
    order = count()
    with inert(decoder):
        heap: list[tuple[float, int, list[int], Tensor, State]] = [
            (0.0, next(order), [], torch.tensor([BOS]), decoder.start(z))
        ]
        while True:
            cost, _, words, last, state = heapq.heappop(heap)
            if last.item() == EOS or len(words) == longest:
                return -cost, words
            log_probs, state = decoder.step(last, state)
            for word in log_probs[0].isfinite().nonzero()[:, 0].tolist():
                grown = words if word == EOS else [*words, word]
                heapq.heappush(
                    heap, (cost - log_probs[0, word].item(), next(order), grown, torch.tensor([word]), state)
                )


def scores(decoder: Decoder, z: Tensor, made: list[list[int]], longest: int) -> Tensor:
    """log p(x|z) (N,) of the words made for each z; a sentence that was cut off has no EOS."""
    values = []
    with inert(decoder):
        for code, words in zip(z, made, strict=True):
            batch = collate([torch.tensor([*words, EOS]).numpy()])
            values.append(decoder(batch, code[None, None])[0, 0, : len(words) + (len(words) < longest)].sum())
    return torch.stack(values)


def picture(misses: dict[tuple[str, str], Tensor]) -> Figure:
    figure, panels = canvas(2)
    for axes, world in zip(panels, ("alive", "collapsed"), strict=True):
        for way, colour in zip(WAYS, (BLUE, ORANGE, GREEN, RED), strict=True):
            values = misses[world, way].clamp_min(0).sort().values
            axes.step(values, torch.linspace(0, 1, len(values)), where="post", color=colour, label=way)
        axes.set(xlabel="nats below the mode", ylabel="share of z", title=world)
        axes.set_xscale("symlog", linthresh=0.01)
    legend(panels[0], loc="lower right")
    return figure


if __name__ == "__main__":
    main(claim)
