"""Edits as preferences: with whole answers the closed form, with changed tokens alone where the gradient goes."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from tests.trainers.exact.population import bradley_terry, distance, trained
from tests.trainers.test_methods_exact import method
from tests.trainers.toys import TABLE, rows, snapshot, toy_spec
from trainers import api, nn
from trainers.data import Preference, preferences, read_records, split
from trainers.envs import hotel
from trainers.nn.byte_transformer import ByteTransformer, ByteTransformerConfig
from trainers.nn.table import SeqTable, TableConfig
from trainers.records import Correction
from trainers.run import Spec

BETA = 0.5
REWARD, SAYS = bradley_terry()

# --- whole answers --------------------------------------------------------------------------------


def whole_distance(edits: ModuleType) -> float:
    """Total variation from pi_ref exp(r / beta) / Z, where edits go from one string to another as often as they are
    preferred."""
    policy = trained(edits, lambda logp, logp_ref: edits.preference_loss(logp, logp_ref, BETA)[0], SAYS)
    return distance(policy, REWARD / BETA)


def test_edits_as_whole_answers_land_on_dpos_closed_form():
    assert whole_distance(method("correction/edits")) < 1e-5


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("beta * (logp - logp_ref)", "beta * logp"),
        (".sum(dim=2).T", ".mean(dim=2).T"),
        ("h = rewards[:, 0] - rewards[:, 1]", "h = rewards[:, 1] - rewards[:, 0]"),
    ],
    ids=["no reference", "mean over tokens", "edited and original swapped"],
)
def test_wrong_edits_land_elsewhere(right, wrong):
    assert whole_distance(method("correction/edits", right, wrong)) > 0.05


@pytest.mark.parametrize("name", ["correction/edits", "correction/edits_masked"])
def test_the_edited_text_is_the_better_one(name, tmp_path):
    spec = toy_spec(name, tmp_path, config={"held_out": 0, "epochs": 3})
    assert api.execute(spec) == 0
    policy, before = (nn.load_policy(folder) for folder in (spec.home / "policy", spec.inputs["policy"]))
    x, edited = policy.encode_pair(TABLE.prompts[0], "add")
    _, original = policy.encode_pair(TABLE.prompts[0], "ddd")
    with torch.no_grad():
        gained = [
            (policy.logp_tok([x], y[None]) - before.logp_tok([x], y[None])).sum() for y in (edited, original)
        ]
    assert gained[0] > 0 > gained[1]


# --- what an edit changed -------------------------------------------------------------------------


def spelled(edited: str, original: str, masked: ModuleType | None = None) -> tuple[str, str]:
    """The letters that each of two texts has and the other lacks."""
    one, other = (torch.tensor([ord(letter) for letter in text] + [0]) for text in (edited, original))
    masks = (masked or method("correction/edits_masked")).changed(one, other)
    return tuple(
        "".join(letter for letter, lacked in zip(text, mask, strict=False) if lacked)
        for text, mask in zip((edited, original), masks, strict=True)
    )


@pytest.mark.parametrize(
    ("edited", "original", "added", "taken"),
    [
        ("the room is clean", "the room is dirty", "clean", "dirty"),
        ("we are open today", "we are open", " today", ""),
        ("open", "we are open today", "", "we are  today"),
        ("late: a room", "a room: late", "late: ", ": late"),
        ("abcd", "wxyz", "abcd", "wxyz"),
        ("xaxbx", "yayby", "xxx", "yyy"),
        ("same", "same", "", ""),
    ],
    ids=[
        "a word replaced",
        "an insertion",
        "two deletions",
        "a word moved",
        "all of it",
        "here and there",
        "nothing",
    ],
)
def test_the_changed_tokens_are_those_that_the_other_answer_lacks(edited, original, added, taken):
    assert spelled(edited, original) == (added, taken)


def longest_by_trial(one: list[int], other: list[int]) -> int:
    """The length of a longest common subsequence, by trying all."""
    for size in range(min(len(one), len(other)), 0, -1):
        if set(itertools.combinations(one, size)) & set(itertools.combinations(other, size)):
            return size
    return 0


def alignment_errors(masked: ModuleType) -> int:
    """Of 200 random pairs of answers, those whose kept tokens differ between the sides, or are fewer than can be."""
    chance, wrong = random.Random(3), 0
    for _ in range(200):
        one, other = ([chance.randrange(3) for _ in range(chance.randrange(1, 8))] for _ in range(2))
        try:
            m_w, m_l = masked.changed(torch.tensor(one), torch.tensor(other))
        except IndexError:
            wrong += 1
            continue
        kept = [
            [i for i, lacked in zip(ids, mask, strict=True) if not lacked]
            for ids, mask in ((one, m_w), (other, m_l))
        ]
        wrong += kept[0] != kept[1] or len(kept[0]) != longest_by_trial(one, other)
    return wrong


def test_what_is_kept_is_a_longest_common_subsequence():
    assert alignment_errors(method("correction/edits_masked")) == 0


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("longest[i, :-1] + (columns == row)", "longest[i + 1, :-1] + (columns == row)"),
        ("np.maximum.accumulate(extended)", "extended"),
        ("longest[i - 1, j] >= longest[i, j - 1]", "longest[i - 1, j] <= longest[i, j - 1]"),
        ("end = shared(one[start:][::-1], other[start:][::-1])", "end = shared(one[::-1], other[::-1])"),
    ],
    ids=["one token matched twice", "no running maximum", "the shorter way back", "ends that overlap"],
)
def test_a_wrong_alignment_is_noticed(right, wrong):
    assert alignment_errors(method("correction/edits_masked", right, wrong)) > 0


# --- where the gradient goes ----------------------------------------------------------------------

LONG = "The breakfast was good and the staff were kind, but the room was {} and looked out on a wall. " * 3


class Leaf:
    """A policy whose log-probabilities are numbers of their own: their gradients say how much each token counts."""

    device, pad = torch.device("cpu"), 256

    def __init__(self) -> None:
        self.reads = ByteTransformer(ByteTransformerConfig(d=16, layers=1))

    def encode_pair(self, prompt: str, answer: str) -> tuple[Tensor, Tensor]:
        return self.reads.encode_pair(prompt, answer)

    def mask(self, y: Tensor) -> Tensor:
        return y != self.reads.pad

    def logp_tok(self, x: list[Tensor], y: Tensor) -> Tensor:
        self.leaf = torch.full(y.shape, -1.0, requires_grad=True)
        return self.leaf * self.mask(y)


def counts(module: ModuleType, edited: str, original: str) -> tuple[str, str, list[float]]:
    """The letters of the edited and of the original text that carry a gradient, and the gradients there are."""
    policy = Leaf()
    one = Preference("p", edited, original, 1.0, True, "")
    row = (
        module.encode(policy, one)
        if hasattr(module, "encode")
        else method("direct/dpo").pairs.encode(policy, one)
    )
    logp = module.logps(policy, [row])
    module.preference_loss(logp, logp.detach(), BETA)[0].sum().backward()
    sides = policy.leaf.grad
    found = ["".join(letter for letter, g in zip(text, side, strict=False) if g) for text, side in
             zip((edited, original), sides.tolist(), strict=True)]  # fmt: skip
    return found[0], found[1], sorted({g for side in sides.tolist() for g in side if g})


EDITED, ORIGINAL = LONG.format("small", "dark", "small"), LONG.format("small", "cold", "small")


def test_in_a_long_answer_with_a_one_word_edit_all_of_the_gradient_is_on_that_word():
    """The word is "dark", once "cold", among some 300 letters: the "d" that both have is kept."""
    masked = method("correction/edits_masked")
    added, taken, gradients = counts(masked, EDITED, ORIGINAL)
    assert (added, taken) == ("ark", "col")
    assert gradients == [-BETA / 2, BETA / 2]
    whole_added, whole_taken, _ = counts(method("correction/edits"), EDITED, ORIGINAL)
    assert (whole_added, whole_taken) == (EDITED, ORIGINAL) and len(EDITED) > 280


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("(found * masks.view_as(found)).sum", "found.sum"),
        ("(found * masks.view_as(found))", "(found * ~masks.view_as(found))"),
        ("return x, y_w, y_l, *changed(y_w, y_l)", "return x, y_w, y_l, *changed(y_w, y_l)[::-1]"),
        ("m_w[start + i] = True", "m_w[i] = True"),
    ],
    ids=["mask forgotten", "mask inverted", "masks exchanged", "mask moved to the start"],
)  # fmt: skip
def test_a_wrong_mask_puts_it_elsewhere(right, wrong):
    added, taken, _ = counts(method("correction/edits_masked", right, wrong), EDITED, ORIGINAL)
    assert (added, taken) != ("ark", "col")


def test_insertions_and_deletions_carry_the_loss_on_their_own_side_alone():
    masked = method("correction/edits_masked")
    assert counts(masked, "a kind staff", "a staff")[:2] == ("kind ", "")
    assert counts(masked, "a staff", "a kind staff")[:2] == ("", "kind ")


def touched(module: ModuleType) -> int:
    """Prefixes of a table over strings of six letters whose logits get a gradient from an edit of the third letter."""
    policy = SeqTable(TableConfig(prompts=("p",), symbols="abcd", length=6), seed=1)
    one = Preference("p", "bcabcd", "bcdbcd", 1.0, True, "")
    row = (
        module.encode(policy, one)
        if hasattr(module, "encode")
        else method("direct/dpo").pairs.encode(policy, one)
    )
    logp = module.logps(policy, [row])
    module.preference_loss(logp, logp.detach(), BETA)[0].sum().backward()
    return int(policy.table.grad[0].abs().sum(dim=1).gt(1e-12).sum())


def test_in_a_table_the_edit_of_a_letter_moves_the_choice_of_that_letter_and_no_other():
    """One prefix: that before the edit. With whole answers the three letters behind it move too, on either side."""
    assert touched(method("correction/edits_masked")) == 1
    assert touched(method("correction/edits")) == 1 + 2 * 3


# --- edits of which nothing is left ---------------------------------------------------------------


def cut_off(folder: Path, name: str, micro_batch: int = 32) -> Spec:
    """Six edits for a policy that reads 32 tokens of an answer: two of them lie beyond."""
    start = "a long beginning, the same in both of them "
    assert len(start) > 32
    records = [Correction(f"e{i}", f"q{i}", f"bad answer {i}", f"good answer {i}") for i in range(4)]
    records += [Correction(f"f{i}", f"r{i}", start + "bad", start + "good") for i in range(2)]
    policy = nn.save(ByteTransformer(ByteTransformerConfig(d=16, layers=1, context=64)), folder / "policy")
    config = {"batch_size": 4, "held_out": 0, "epochs": 2, "lr": 1e-2, "micro_batch": micro_batch}
    where = snapshot(folder / "snapshot", records)
    return Spec(
        "correction/edits_masked", folder / name, config, inputs={"policy": str(policy)}, snapshot=where
    )


def test_an_edit_of_which_nothing_is_left_is_put_aside_and_counted(tmp_path):
    spec = cut_off(tmp_path, "run")
    assert api.execute(spec) == 0
    found = rows(spec.home)
    assert [row["edits/unchanged"] for row in found] == [2, 2]
    assert found[0]["loss"] == pytest.approx(0.693147, abs=1e-5)
    # "good" for "bad" before 9 bytes and the end: g, o, o on one side, b, a on the other, of 14 and 13 tokens.
    assert found[0]["edits/changed"] == pytest.approx(5 / 27)


def test_how_many_tokens_were_changed_does_not_depend_on_how_the_batch_is_cut(tmp_path):
    whole, cut = cut_off(tmp_path, "whole"), cut_off(tmp_path, "cut", micro_batch=1)
    assert api.execute(whole) == api.execute(cut) == 0
    for one, other in zip(rows(whole.home), rows(cut.home), strict=True):
        assert one["edits/changed"] == other["edits/changed"] and one["loss"] == pytest.approx(
            other["loss"], abs=1e-5
        )


# --- on real answers ------------------------------------------------------------------------------

DEMO = Path(nn.__file__).parent.parent / "demo" / "policy"


def edited_answers() -> list[Correction]:
    """Answers of the demo's policy in which a person would have the hotel say "our" for "the", once."""
    policy, chance = nn.load_policy(DEMO), torch.Generator().manual_seed(0)
    asked = hotel.PROMPTS["train"]
    drawn = policy.sample([policy.encode(prompt) for prompt in asked], 6, 96, 0.9, chance)
    texts = [(asked[row // 6], policy.decode(y[drawn.mask[row]])) for row, y in enumerate(drawn.y)]
    return [
        Correction(f"e{i}", prompt, text, text.replace(" the ", " our ", 1))
        for i, (prompt, text) in enumerate(texts)
        if " the " in text
    ]


def taught(name: str, folder: Path, lr: float) -> tuple[float, float]:
    """On held-out prompts: the log-ratio gained by changed tokens, edited less original, a pair; and how far, in nats,
    an unchanged token's log-probability has moved."""
    where = snapshot(folder / "snapshot", edited_answers())
    config = {"lr": lr, "epochs": 2}
    spec = Spec(name, folder / f"{name} {lr}", config, inputs={"policy": str(DEMO)}, snapshot=where)
    assert api.execute(spec) == 0
    masked, before, after = (
        method("correction/edits_masked"),
        nn.load_policy(DEMO),
        nn.load_policy(spec.home / "policy"),
    )
    held_out = preferences(split(read_records(where, ("correction",)), 0.2)[1])
    gained, moved = [], []
    for x, y_w, y_l, *masks in (masked.encode(before, one) for one in held_out):
        sides = []
        for y, mask in zip((y_w, y_l), masks, strict=True):
            with torch.no_grad():
                ratio = (after.logp_tok([x], y[None]) - before.logp_tok([x], y[None]))[0]
            sides.append(ratio[mask].sum().item())
            moved += ratio[~mask].abs().tolist()
        gained.append(sides[0] - sides[1])
    return sum(gained) / len(gained), sum(moved) / len(moved)


@pytest.mark.slow
def test_on_real_answers_masking_teaches_the_edit_more_and_moves_the_rest_less(tmp_path):
    whole, masked = (taught(name, tmp_path, 1e-4) for name in ("correction/edits", "correction/edits_masked"))
    assert masked[0] > 1.3 * whole[0] > 0
    assert masked[1] < 0.3 * whole[1]
