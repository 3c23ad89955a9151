"""The demo's small world: a guest writes to the hotel's front desk, and somebody answers in a line or two.

It has a stated rule of what a good answer is, `gold`, so that simulated annotators have something to agree on
and a learned reward can be plotted against the truth. No method sees the rule; people who label the demo need
not follow it. The rule asks what a tired guest would ask:

    gold = topic + action + concrete + courtesy + length + ending        (at most 10)
         - wrong topic - rude - vague - repetition - stuffing            (may go below 0)

    topic       0 .. 4     names what helps with this message: 3 for the first such word, 4 for two of them
    action      0 .. 1.5   somebody does something ("I will", "you can", "is on its way")
    concrete    0 .. 2     a time or a place; "right away" and "tonight" are worth 1
    courtesy   -1.5 .. 1   one or two kind phrases are 1, three are 0.5, grovelling costs
    length     -3 .. 1     best from 45 to 105 characters, falling smoothly on both sides
    ending     -1 .. 0.5   starts with a capital, ends with a full stop, and is not more than three sentences
    wrong_topic    ..0     1.5 for each word that belongs to some other guest's trouble, at most 4.5
    rude           ..0     5 for the first dismissive phrase or flat refusal, 6 for more
    vague          ..0     0.7 for each of "soon", "maybe", "at some point", at most 1.4
    repetition     ..0     3 times the share of word pairs that were there before, and 0.5 a word said too often
    stuffing       ..0     up to 4 when the small words that hold a sentence together are missing

An action or an hour is worth nothing in an answer to somebody else's question, so these two count only where
`topic` is above zero. Standard library alone: the web reads this file too.
"""

import math
import random
import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

Split = Literal["train", "held_out"]
Choice = Literal["a", "b", "tie", "both_bad"]


@dataclass(frozen=True)
class Topic:
    """One kind of trouble: how guests put it, and which words an answer that helps is made of."""

    example: str
    """An answer that leaves nothing to wish for."""
    fixes: str
    """Words that help, separated by spaces; a plural s is understood."""
    near: str
    """Words of other topics that are no mistake here ("breakfast" in an answer about an allergy)."""
    cues: str
    """Words by which a message that is not in the list is recognised."""
    train: tuple[str, ...]
    held_out: tuple[str, ...]


TOPICS: dict[str, Topic] = {
    "cold": Topic(
        example="I am sorry about that. I will bring you a warm blanket and a heater in ten minutes.",
        fixes="heat heating heater radiator thermostat blanket warm warmer duvet",
        near="technician",
        cues="cold freezing heating warm warmer chilly radiator",
        train=(
            "My room is too cold.",
            "It is freezing in room 212.",
            "The heating does not work.",
            "Can you make my room warmer?",
            "I could not sleep, the room was so cold.",
        ),
        held_out=("The radiator is cold and so am I.", "Is there any way to warm up this room?"),
    ),
    "towels": Topic(
        example="Of course. I will bring four fresh towels to your room in ten minutes.",
        fixes="towel bathroom fresh extra",
        near="housekeeping clean",
        cues="towel",
        train=(
            "Can I get more towels?",
            "There are no towels in the bathroom.",
            "We need two extra towels.",
            "My towel is wet, may I have a new one?",
            "The kids used up all the towels.",
        ),
        held_out=("Could somebody bring us fresh towels?", "No clean towels here, please help."),
    ),
    "checkout": Topic(
        example="Of course. You can keep the room and stay until two, with no extra charge.",
        fixes="checkout keep stay late later",
        near="bag luggage",
        cues="checkout check stay",
        train=(
            "Can I check out late tomorrow?",
            "My train leaves at four. May I keep the room?",
            "When do I have to check out?",
            "Is a late checkout possible?",
            "I would like to stay in my room until two.",
        ),
        held_out=("Could we leave the room later than eleven?", "We need a few more hours before checkout."),
    ),
    "taxi": Topic(
        example="Certainly. I will book you a taxi to the airport, at the main door at six.",
        fixes="taxi cab driver shuttle airport",
        near="car",
        cues="taxi airport cab shuttle",
        train=(
            "I need a taxi to the airport.",
            "Can you book me a cab for tomorrow?",
            "How do I get to the airport?",
            "My flight is at nine. Please order a taxi.",
            "Is there a shuttle to the airport?",
        ),
        held_out=(
            "Could you call a car to take us to the airport?",
            "We need a ride to the airport at five.",
        ),
    ),
    "wifi": Topic(
        example="Sorry about that. I will restart the router and bring you the password in ten minutes.",
        fixes="wifi password network router internet connect",
        near="technician card",
        cues="wifi internet online password",
        train=(
            "What is the wifi password?",
            "The wifi does not work.",
            "I can't get online in my room.",
            "The internet is very slow.",
            "My laptop won't connect to the wifi.",
        ),
        held_out=("How do I connect to the internet here?", "The wifi keeps dropping."),
    ),
    "noise": Topic(
        example="I am sorry about the noise. I will ask your neighbours to be quiet by eleven.",
        fixes="quiet quieter quietly noise neighbour music",
        near="",
        cues="loud noise party music shouting awake",
        train=(
            "The people next door are very loud.",
            "I can't sleep because of the noise.",
            "There is a party above my room.",
            "The music downstairs is too loud.",
            "Can you do something about the noise?",
        ),
        held_out=("Someone is shouting in the hallway.", "My neighbours are keeping me awake."),
    ),
    "breakfast": Topic(
        example="With pleasure. We will have a breakfast box with coffee ready at the front desk at five.",
        fixes="breakfast coffee sandwich buffet fruit",
        near="box kitchen bag",
        cues="breakfast coffee",
        train=(
            "When is breakfast?",
            "I leave at five. Can I still have breakfast?",
            "Is breakfast served in the room?",
            "Where do I go for breakfast?",
            "My flight is early. Can I take breakfast along?",
        ),
        held_out=("I will miss breakfast, could you pack something?", "Can I get breakfast before six?"),
    ),
    "allergy": Topic(
        example="Thank you for telling us. I will ask the chef to mark every safe dish on your menu by seven.",
        fixes="allergy nut gluten chef dish dishes kitchen",
        near="breakfast dinner menu",
        cues="allergy allergic nut gluten milk egg",
        train=(
            "I am allergic to nuts.",
            "My son can't eat gluten.",
            "Is there milk in the soup?",
            "I have a peanut allergy. What can I eat?",
            "Do you have anything without gluten?",
        ),
        held_out=("My wife is allergic to eggs, is dinner safe?", "Which dishes have no nuts in them?"),
    ),
    "key": Topic(
        example="I am sorry. I will make you a new key card at the front desk in five minutes.",
        fixes="key card door unlock",
        near="",
        cues="key locked card",
        train=(
            "I lost my room key.",
            "My key card does not work.",
            "I am locked out of my room.",
            "The door will not open with my key.",
            "I left my key in the room.",
        ),
        held_out=("Could I have a second key card?", "My card only blinks red at the door."),
    ),
    "shower": Topic(
        example="I am sorry. I will send the plumber to look at the shower within twenty minutes.",
        fixes="shower plumber drain pipe tap water",
        near="bathroom technician hot",
        cues="shower tap toilet sink water drain",
        train=(
            "There is no hot water in the shower.",
            "The shower does not drain.",
            "The tap in my bathroom drips all night.",
            "The toilet is blocked.",
            "The sink is leaking.",
        ),
        held_out=("Only cold water comes out of the shower.", "There is water all over the bathroom floor."),
    ),
    "parking": Topic(
        example="Welcome. You can park in our garage behind the hotel, and I will keep a space for you until ten.",
        fixes="park parking garage space car",
        near="card",
        cues="park parking garage car",
        train=(
            "Where can I park my car?",
            "Do you have a parking space for us?",
            "The car park is full.",
            "How much is parking?",
            "Is the garage open at night?",
        ),
        held_out=("We come by car, where should we leave it?", "Can I park here overnight?"),
    ),
    "luggage": Topic(
        example="Of course. You can leave your bags at the front desk until six, and the porter will carry them.",
        fixes="bag luggage suitcase porter store",
        near="checkout",
        cues="bag luggage suitcase",
        train=(
            "Can I leave my bags here after checkout?",
            "Where can we store our luggage?",
            "Could someone help me with my suitcases?",
            "Please keep my luggage until six.",
            "Is there a place for my bags?",
        ),
        held_out=("May we leave two suitcases with you today?", "My bags are heavy. Can someone carry them?"),
    ),
    "lamp": Topic(
        example="Sorry about that. I will bring you a new bulb and a second lamp in ten minutes.",
        fixes="lamp light bulb electrician switch",
        near="",
        cues="lamp light bulb dark",
        train=(
            "The lamp by the bed is broken.",
            "The light in the bathroom does not work.",
            "It is dark in my room, no lamp works.",
            "The bulb keeps flickering.",
            "I can't find the light switch.",
        ),
        held_out=("The bedside light went out.", "All the lights in our room are off."),
    ),
    "dinner": Topic(
        example="With pleasure. I will keep a table for you in our restaurant at eight.",
        fixes="table dinner restaurant menu kitchen",
        near="dish chef",
        cues="dinner table restaurant hungry eat",
        train=(
            "Can you book a table for dinner?",
            "Where can I eat tonight?",
            "Is the restaurant still open?",
            "We would like dinner for four.",
            "Do you know a good restaurant?",
        ),
        held_out=("Could we have a table by the window tonight?", "I am hungry, is the kitchen open?"),
    ),
    "cleaning": Topic(
        example="I am sorry. Housekeeping will clean your room and change the sheets in half an hour.",
        fixes="clean cleaned cleaner sheets housekeeping maid tidy",
        near="fresh towel key",
        cues="clean cleaned dirty sheets dust bed bin",
        train=(
            "My room has not been cleaned.",
            "The bed sheets are dirty.",
            "Could you clean my room now?",
            "There is dust all over the floor.",
            "Please change the sheets.",
        ),
        held_out=("Nobody made our bed today.", "The bin is full and the carpet is dirty."),
    ),
    "laundry": Topic(
        example="Certainly. I will have it washed and ironed by our laundry before nine tomorrow.",
        fixes="laundry iron ironed wash washed press pressed clothes",
        near="clean bag fresh",
        cues="wash washing iron laundry suit dress shirt trousers",
        train=(
            "Can you wash my shirts?",
            "I need an iron.",
            "I spilled wine on my suit.",
            "How long does the laundry take?",
            "Do you have a washing machine?",
        ),
        held_out=("My dress is full of creases.", "Could my trousers be cleaned by Friday?"),
    ),
}

PROMPTS: dict[Split, tuple[str, ...]] = {
    "train": tuple(message for topic in TOPICS.values() for message in topic.train),
    "held_out": tuple(message for topic in TOPICS.values() for message in topic.held_out),
}

_NUMBER = (
    r"(?:\d{1,2}(?::\d\d)?|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty|thirty"
    r"|noon|midnight|half past \w+)"
)
_EXACT = re.compile(
    rf"\b(?:in|within|for|about|after|takes?) (?:an?|the next|half an|{_NUMBER})(?: more)? ?(?:minutes?|hours?)\b"
    rf"|\b(?:at|by|until|from|before|after|till|to) {_NUMBER}\b"
    r"|\b(?:at|from|to|in|on|behind|beside|near|under|by|next to|across from) (?:the |our |your )?"
    r"(?:front desk|reception|lobby|bar|ground floor|first floor|second floor|basement|lift|entrance|main door"
    r"|garage|wardrobe|back door|breakfast room|dining room|courtyard|garden)\b"
)
_NEARLY_EXACT = re.compile(
    r"\b(?:right away|right now|at once|immediately|straight away|tonight|this (?:morning|afternoon|evening)"
    r"|tomorrow morning|all (?:day|night))\b"
)
_ACTION = re.compile(
    r"\b(?:will|can|may)\b(?! not\b)|'ll\b|\blet me\b|\bon (?:its|the|his|her|their) way\b|\bis served\b"
    r"|\b(?:is|are) (?:ready|open|waiting|free|on now)\b|\bplease (?:use|come|ask|call|leave|dial|take|try|pick)\b"
    r"|\b(?:i|we) have (?:just )?(?:asked|sent|booked|called|put|told)\b"
)
_COURTESY = re.compile(
    r"\b(?:sorry|apolog\w+|please|thank\w*|of course|certainly|gladly|with pleasure|happy to|enjoy|welcome"
    r"|sleep well|safe trip|good (?:night|evening|morning|day))\b"
)
_RUDE = re.compile(
    r"not (?:my|our) (?:problem|job|fault)|your (?:own )?(?:fault|problem)\b|deal with it|live with it|go away"
    r"|whatever|stop (?:asking|calling|complaining|bothering)|(?:do not|don't) (?:care|bother|ask me|disturb)"
    r"|so what|too bad|you should have|ask (?:someone|somebody) else|(?:i am|we are) (?:too )?busy|not now"
    r"|everyone else|nobody else|what did you expect|read the sign|\b(?:it|them|cab) yourself|not your \w+|not need"
    r"|calm down|no idea|big deal|shut up|you people|(?:will|can)(?:not| not)|can't|won't|as if"
    r"|buy your own|how hard|be more careful|obviously|be out|when we say|not a (?:taxi company|doctor|laundry)"
)
_VAGUE = re.compile(
    r"\b(?:soon|later(?! hour)|some ?time|some day|at some point|maybe|perhaps|might|eventually|possibly|we will see"
    r"|when (?:somebody|someone) (?:is free|has time)|one of these days|probably|something)\b"
)
_SMALL_WORDS = set(
    re.findall(
        r"\S+",
        """
    a an the i we you he she it they me us your my our his her their its this that these there is are am was be
    been will can may could would have has had do does did to of in on at by for from with up out as so and or
    but if until before after about when where who what which not no yes please any all some one more now let
    i'll we'll you'll it's i'm we're
""",
    )
)
_EVERYDAY = {
    "keep", "stay", "late", "later", "extra", "fresh", "door", "light", "store", "space", "press", "water", "warm",
    "bathroom", "connect",
}  # fmt: skip
# A word said more often than this in one short answer is a tic.
_OFTEN = 3


def parts(prompt: str, answer: str) -> dict[str, float]:
    """The terms of the rule, by name; `gold` is their sum."""
    text = answer.strip()
    lower = text.lower()
    words = re.findall(r"[a-z0-9:'-]+", lower)
    topic = topic_of(prompt)
    helping = _distinct(_listed(topic, "fixes"), words) if topic else 0
    on_topic = 0.0 if helping == 0 else 3.0 if helping == 1 else 4.0
    return {
        "topic": on_topic,
        "action": 1.5 if on_topic and _ACTION.search(lower) else 0.0,
        "concrete": _concrete(lower) if on_topic else 0.0,
        "courtesy": _courtesy(len(_COURTESY.findall(lower))),
        "length": _length(len(text)),
        "ending": _ending(text),
        "wrong_topic": -min(4.5, 1.5 * _distinct(_foreign(topic), words)) if topic else 0.0,
        "rude": -{0: 0.0, 1: 5.0}.get(len(_RUDE.findall(lower)), 6.0),
        "vague": -min(1.4, 0.7 * len(_VAGUE.findall(lower))),
        "repetition": -_repetition(words),
        "stuffing": -_stuffing(words),
    }


def gold(prompt: str, answer: str) -> float:
    """How good the answer is, by the rule above: about 10 for excellent, around 0 for useless, below for worse."""
    return sum(parts(prompt, answer).values())


def gold_preference(prompt: str, a: str, b: str, rng: random.Random, temperature: float = 0.5) -> Choice:
    """What an annotator who holds by the rule answers: Bradley-Terry, P(a over b) = sigmoid((gold a - gold b) / T).

    Answers that hardly differ are a tie, or, when neither would do, both bad.
    """
    first, second = gold(prompt, a), gold(prompt, b)
    if abs(first - second) < 0.3:
        return "both_bad" if max(first, second) < 2.0 else "tie"
    odds = max(-50.0, min(50.0, (first - second) / temperature))
    return "a" if rng.random() < 1.0 / (1.0 + math.exp(-odds)) else "b"


def rewrite(prompt: str, answer: str) -> str:
    """A better answer, as an annotator who holds by the rule would write it.

    What can be mended is mended: rude, misplaced and vague words go; a kind word, a time and an end come. What would
    still not do is written anew.
    """
    sentences = [mended for one in re.findall(r"[^.!?]+", answer) if (mended := _mend(prompt, one))]
    text = " ".join(sentences)
    if text and not _COURTESY.search(text.lower()):
        text = f"I am sorry about that. {text}"
    if text and gold(prompt, text) > max(8.5, gold(prompt, answer)):
        return text
    topic = topic_of(prompt)
    return (
        TOPICS[topic].example
        if topic
        else "I am sorry. I will come to your room and see to it in ten minutes."
    )


def _mend(prompt: str, sentence: str) -> str:
    text = re.sub(r"\s+", " ", _VAGUE.sub("", sentence)).strip(" ,")
    found = parts(prompt, text)
    if not text or found["rude"] < 0 or found["wrong_topic"] < 0 or len(text.split()) < 2:
        return ""
    return (
        f"{text} in ten minutes."
        if found["topic"] and found["action"] and not found["concrete"]
        else f"{text}."
    )


@cache
def topic_of(prompt: str) -> str | None:
    """The topic of a message: looked up, or for a new one guessed from its words; None when nothing fits."""
    for name, topic in TOPICS.items():
        if prompt in topic.train or prompt in topic.held_out:
            return name
    words = re.findall(r"[a-z-]+", prompt.lower())
    hits = {name: _distinct(_listed(name, "cues"), words) for name in TOPICS}
    best = max(hits, key=lambda name: hits[name])
    return best if hits[best] else None


@cache
def _listed(topic: str, field: Literal["fixes", "near", "cues"]) -> tuple[str, ...]:
    return tuple(getattr(TOPICS[topic], field).split())


@cache
def _foreign(topic: str) -> tuple[str, ...]:
    """Words that help somebody else, but for everyday ones: those are no sign of a mix-up."""
    own = {*_listed(topic, "fixes"), *_listed(topic, "near")}
    others = {word for name in TOPICS if name != topic for word in _listed(name, "fixes")}
    return tuple(sorted(others - own - _EVERYDAY))


def _distinct(wanted: tuple[str, ...], words: list[str]) -> int:
    said = {word for spoken in words for word in (spoken, spoken.removesuffix("s"))}
    return sum(word in said for word in wanted)


def _concrete(lower: str) -> float:
    if _EXACT.search(lower):
        return 2.0
    return 1.0 if _NEARLY_EXACT.search(lower) else 0.0


def _courtesy(count: int) -> float:
    if count == 0:
        return 0.0
    return 1.0 if count <= 2 else max(-1.5, 0.5 - 0.5 * (count - 3))


def _length(size: int) -> float:
    if size < 45:
        return -1.0 + 2.0 * size / 45
    return 1.0 if size <= 105 else max(-3.0, 1.0 - (size - 105) / 12)


def _ending(text: str) -> float:
    sentences = len(re.findall(r"[.!?]+(?:\s|$)", text))
    if not text or text[-1] not in ".!?":
        return -1.0
    return (0.5 if text[0].isupper() else 0.0) - 0.5 * max(0, sentences - 3)


def _repetition(words: list[str]) -> float:
    pairs = list(zip(words, words[1:], strict=False))
    again = 1.0 - len(set(pairs)) / len(pairs) if pairs else 0.0
    tics = sum(words.count(word) > _OFTEN for word in set(words))
    return min(4.0, 3.0 * again + 0.5 * tics)


def _stuffing(words: list[str]) -> float:
    """A list of good words is no answer: in plain English more than a third of the words are small ones."""
    if not words:
        return 4.0
    if len(words) < 4:
        return 0.0  # curt, which `length` minds
    small = sum(word in _SMALL_WORDS for word in words) / len(words)
    return 4.0 * max(0.0, 0.3 - small) / 0.3
