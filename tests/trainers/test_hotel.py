"""The demo's gold rule prefers what a guest would, and is not fooled by what is not an answer; its policy can write."""

import json
import random
from pathlib import Path

import pytest

from trainers.demo import corpus
from trainers.demo.make import answers_to
from trainers.envs import hotel
from trainers.envs.hotel import gold, gold_preference, parts, rewrite
from trainers.nn import digest, load_policy
from trainers.nn.byte_transformer import ByteTransformer

SHIPPED = Path(hotel.__file__).parents[1] / "demo"
COLD = "My room is too cold."
GOOD = "I am sorry about that. I will bring a heater and a blanket to your room in ten minutes."

# For one message, answers from the one a guest would like best to the one they would like least.
WORSE_AND_WORSE = {
    COLD: (
        GOOD,
        "I will bring a heater to your room in ten minutes.",
        "I will bring a heater to your room.",
        "I will bring a heater to your room at some point, maybe.",
        "Heating is on.",
        "I am sorry. I will book a taxi to the airport at six.",
        "That is not my problem.",
        "That is not my problem, call a taxi and stop complaining",
    ),
    "Can I check out late tomorrow?": (
        "Of course. You can keep the room until two o'clock.",
        "You can keep the room until two o'clock.",
        "Maybe you can stay some time.",
        "We can bring you fresh towels until two o'clock.",
        "No idea, read the sign",
    ),
    "I am allergic to nuts.": (
        "Thank you for telling us. The chef will cook your dinner without nuts at seven.",
        "The chef will cook without nuts.",
        "Ok.",
        "Pick the nuts out and stop complaining.",
    ),
}

NO_ANSWERS = {
    "a list of good words": "Sorry please heater blanket radiator thermostat duvet heating ten minutes welcome.",
    "the same again and again": "I will bring a heater. I will bring a heater. I will bring a heater in ten minutes.",
    "the question back": COLD,
    "kindness alone": "I am so sorry, please accept our apologies, thank you, please, sorry, welcome.",
    "an essay": GOOD
    + " Our hotel was built in 1923 and has ninety rooms, and many guests ask us that all year.",
    "every promise at once": "I will bring a heater, a taxi, towels, the wifi password and breakfast in ten minutes.",
    "nothing": "",
    "noise": "heatr blnkt wll brng tn mnts",
}


@pytest.mark.parametrize("prompt", WORSE_AND_WORSE)
def test_the_rule_orders_answers_as_a_guest_would(prompt):
    scores = [gold(prompt, answer) for answer in WORSE_AND_WORSE[prompt]]
    assert all(better > worse for better, worse in zip(scores, scores[1:], strict=False)), scores


@pytest.mark.parametrize("what", NO_ANSWERS)
def test_what_is_no_answer_scores_below_a_plain_good_one(what):
    plain = gold(COLD, "I will bring a heater to your room in ten minutes.")
    assert gold(COLD, NO_ANSWERS[what]) < plain - 1


def test_the_score_is_the_sum_of_its_named_parts_and_at_most_ten():
    for prompt, answer in corpus.pairs(500, seed=1):
        assert gold(prompt, answer) == pytest.approx(sum(parts(prompt, answer).values()))
        assert gold(prompt, answer) <= 10


def test_a_topics_model_answer_is_excellent_there_and_poor_elsewhere():
    for name, topic in hotel.TOPICS.items():
        for prompt in (*topic.train, *topic.held_out):
            assert gold(prompt, topic.example) >= 9.5, (prompt, parts(prompt, topic.example))
        others = [gold(other.train[0], topic.example) for key, other in hotel.TOPICS.items() if key != name]
        assert sum(score > 5 for score in others) <= 1, name


def test_the_messages_are_short_distinct_and_split_once():
    train, held_out = hotel.PROMPTS["train"], hotel.PROMPTS["held_out"]
    assert len(set(train + held_out)) == len(train) + len(held_out) == 112
    assert max(len(prompt.encode()) for prompt in train + held_out) <= 80


def test_a_message_in_other_words_finds_its_topic_and_an_alien_one_finds_none():
    assert hotel.topic_of("Hello, could the heating be turned up a little?") == "cold"
    assert hotel.topic_of("Two more towels for room nine, if you can.") == "towels"
    assert hotel.topic_of("What is the capital of France?") is None
    assert gold("What is the capital of France?", "It is Paris, as far as we know at this desk.") > 0


def test_preferences_follow_bradley_terry():
    worse = "I will bring a heater to your room in ten minutes."
    apart, rng, draws = gold(COLD, GOOD) - gold(COLD, worse), random.Random(0), 4000
    share = sum(gold_preference(COLD, GOOD, worse, rng, temperature=2.0) == "a" for _ in range(draws)) / draws
    assert share == pytest.approx(1 / (1 + 2.718281828 ** (-apart / 2.0)), abs=0.03)


def test_answers_that_hardly_differ_are_a_tie_and_two_useless_ones_both_bad():
    rng = random.Random(0)
    alike = "I am sorry about that. I will bring a blanket and a heater to your room in ten minutes."
    assert gold_preference(COLD, GOOD, alike, rng) == "tie"
    assert gold_preference(COLD, "That is not my problem.", "That is not my problem!", rng) == "both_bad"


def test_a_rewrite_is_better_than_what_it_replaces():
    for prompt in hotel.PROMPTS["train"]:
        topic = hotel.topic_of(prompt)
        assert topic
        for number in range(5):
            answer = corpus.answer(topic, random.Random(f"{prompt} {number}"))
            if gold(prompt, answer) < 9.5:
                assert gold(prompt, rewrite(prompt, answer)) > gold(prompt, answer)


def test_the_corpus_is_repeatable_short_and_of_every_quality():
    once, again = list(corpus.pairs(2000, seed=7)), list(corpus.pairs(2000, seed=7))
    assert once == again
    assert max(len(answer.encode()) for _, answer in once) <= 140
    assert max(len(prompt.encode()) for prompt, _ in once) <= 80
    scores = [gold(prompt, answer) for prompt, answer in once]
    assert 3 < sum(scores) / len(scores) < 6
    assert min(scores) < -3
    assert sum(score > 8.9 for score in scores) > 100
    assert len({round(score, 3) for score in scores}) > 100


def test_the_shipped_policy_is_small_and_writes_readable_answers_that_leave_room_for_better():
    folder = SHIPPED / "policy"
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 5_000_000
    policy = load_policy(folder)
    assert isinstance(policy, ByteTransformer)
    assert sum(weight.numel() for weight in policy.parameters()) <= 2_500_000
    prompts = list(hotel.PROMPTS["held_out"])
    answers = answers_to(policy, prompts, 2, seed=1)
    words = [word for answer in answers for word in corpus.words_of(answer)]
    known = corpus.vocabulary()
    assert sum(word in known for word in words) / len(words) > 0.95
    assert len(set(answers)) > 0.9 * len(answers)
    scores = [gold(prompts[i // 2], answer) for i, answer in enumerate(answers)]
    assert 0 < sum(scores) / len(scores) < 6
    assert max(scores) > 8


def test_the_shipped_items_are_pairs_that_differ_by_the_shipped_policy():
    items = [json.loads(line) for line in (SHIPPED / "items.jsonl").read_text("utf-8").splitlines()]
    assert len(items) == 160
    made_by = digest(SHIPPED / "policy")
    for item in items:
        assert item["context"]["prompt"] in hotel.PROMPTS["train"]
        first, second = item["candidates"]
        assert first["text"] != second["text"]
        assert {one["source"]["digest"] for one in item["candidates"]} == {made_by}
