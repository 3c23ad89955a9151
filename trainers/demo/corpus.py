"""The text the demo policy learns to write: guests' messages and answers of every quality, from a seeded grammar.

A policy that only ever read excellent answers would leave nothing to choose between. So the grammar writes like a
front desk on its best and worst days: most answers lack something (an hour, a kind word, an end), some go on too
long, some answer another guest, some are rude. What each sort is called is nowhere in the text.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from trainers.envs.hotel import TOPICS

ANSWER_BYTES = 140
PROMPT_BYTES = 80


@dataclass(frozen=True)
class Voice:
    """What the front desk can say about one topic."""

    nouns: tuple[str, ...]
    """What a guest asks about: completes "A question about ..."."""
    does: tuple[str, ...]
    """What somebody will do: completes "I will ..."."""
    says: tuple[str, ...]
    """Facts that help, whole sentences with a time or a place."""
    trouble: str
    """Completes "I am sorry about ..."."""
    curt: tuple[str, ...]
    rude: tuple[str, ...]
    times: tuple[str, ...] = ()
    """Hours that fit this topic better than the general ones."""


VOICES: dict[str, Voice] = {
    "cold": Voice(
        nouns=(
            "the heating",
            "the radiator",
            "the cold in my room",
            "a warm blanket",
            "a heater",
            "the cold",
            "a warmer room",
            "the freezing room",
            "the cold radiator",
            "a thicker blanket",
            "my cold feet",
            "the heater",
            "warming up the room",
        ),
        does=(
            "turn up the heating in your room",
            "bring you a warm blanket",
            "bring a small heater to your room",
            "send someone to look at the radiator",
            "bring you two more blankets",
            "turn the radiator on for you",
            "bring you a thicker duvet",
        ),
        says=(
            "There are more blankets in the wardrobe.",
            "The thermostat is beside the main door, please turn it to the right.",
            "You can pick up a heater at the front desk.",
        ),
        trouble="the cold room",
        curt=("Use the blanket.", "Heating is on.", "Turn the radiator on."),
        rude=("It is winter, so what?", "Put on a coat and stop complaining.", "Nobody else is cold."),
    ),
    "towels": Voice(
        nouns=(
            "towels",
            "more towels",
            "the towels",
            "a fresh towel",
            "clean towels",
            "bath towels",
            "a new towel",
            "two extra towels",
            "dirty towels",
            "missing towels",
            "a towel for my son",
            "somebody to bring towels",
        ),
        does=(
            "bring you fresh towels",
            "send up two extra towels",
            "have clean towels brought to your room",
            "put a set of towels in your bathroom",
            "ask housekeeping to bring more towels",
            "leave four towels at your door",
        ),
        says=(
            "Fresh towels are in the wardrobe.",
            "You can pick up extra towels at the front desk.",
            "More towels are ready for you at reception.",
        ),
        trouble="the missing towels",
        curt=("More towels, fine.", "Towels are in the wardrobe.", "Ok, towels."),
        rude=(
            "How hard is it to dry one towel?",
            "Two towels are enough, do not ask me again.",
            "Buy your own towels.",
        ),
    ),
    "checkout": Voice(
        nouns=(
            "checkout",
            "a late checkout",
            "the checkout time",
            "staying longer",
            "leaving the room later",
            "checking out",
            "the time of checkout",
            "a few more hours in the room",
            "leaving later than planned",
            "keeping the room longer",
            "a later hour to leave",
            "staying until the afternoon",
        ),
        does=(
            "keep the room for you",
            "let you stay in your room",
            "set your checkout to a later hour",
            "book a late checkout for you",
            "move your checkout",
        ),
        says=(
            "You can stay until two o'clock.",
            "Checkout is at eleven, but you may stay until one.",
            "Late checkout is free until noon.",
        ),
        trouble="the early checkout",
        curt=("Checkout is at eleven.", "You can stay until noon.", "Stay, then."),
        rude=(
            "Checkout is at eleven, read the sign.",
            "Others want the room, so be out.",
            "You should have asked before.",
        ),
        times=(
            "until two o'clock",
            "until noon",
            "until three",
            "until one in the afternoon",
            "until four o'clock",
        ),
    ),
    "taxi": Voice(
        nouns=(
            "a taxi",
            "the airport",
            "a ride to the airport",
            "a cab",
            "the airport shuttle",
            "a car to the airport",
            "a cab for tomorrow",
            "a car to take us to the airport",
            "getting to my flight",
            "a ride at five",
            "the way to the airport",
            "calling a taxi",
        ),
        does=(
            "book a taxi for you",
            "call you a cab",
            "order a taxi to the airport",
            "ask our driver to take you to the airport",
            "keep two seats in the airport shuttle for you",
            "have a taxi wait for you",
        ),
        says=(
            "The airport shuttle leaves from the main door at six.",
            "Taxis are waiting at the main door all day.",
            "A taxi to the airport takes thirty minutes.",
        ),
        trouble="the wait",
        curt=("Taxi is booked.", "Take the shuttle.", "There are taxis outside."),
        rude=(
            "We are not a taxi company.",
            "Walk to the airport, big deal.",
            "Call a cab yourself, I am busy.",
        ),
        times=(
            "at six in the morning",
            "at seven",
            "at half past five",
            "in twenty minutes",
            "at the main door at eight",
            "at nine",
        ),
    ),
    "wifi": Voice(
        nouns=(
            "the wifi",
            "the wifi password",
            "the internet",
            "getting online",
            "the slow wifi",
            "the internet connection",
            "connecting to the internet",
            "the password",
            "the wifi that keeps dropping",
            "my laptop that will not connect",
            "the network",
            "internet on my phone",
        ),
        does=(
            "restart the router on your floor",
            "bring you a card with the wifi password",
            "send someone to look at the wifi",
            "put you on the faster network",
            "help you connect to the wifi",
            "write down the password for you",
        ),
        says=(
            "The wifi password is on a card at the front desk.",
            "The network is called Garden, and the password is in the wardrobe.",
            "The wifi is fastest in the lobby.",
        ),
        trouble="the wifi",
        curt=("Restart your laptop.", "Password is on the wall.", "Try the other network."),
        rude=(
            "The wifi is fine, so it is your problem.",
            "Read a book and stop complaining.",
            "Ask someone else about wifi.",
        ),
    ),
    "noise": Voice(
        nouns=(
            "the noise",
            "my loud neighbours",
            "the loud music",
            "the party next door",
            "the shouting",
            "people who keep me awake",
            "the neighbours",
            "the loud people upstairs",
            "shouting in the hallway",
            "someone singing at night",
            "a loud party",
            "my sleep, it is so loud",
            "the noise that keeps us awake",
        ),
        does=(
            "ask your neighbours to be quiet",
            "move you to a quieter room",
            "go up and end the noise",
            "have the music turned down",
            "call the room next door about the noise",
            "find you a quiet room on the second floor",
        ),
        says=(
            "There is a quiet room free for you on the second floor.",
            "The music ends at eleven, and then it is quiet.",
            "You can pick up ear plugs against the noise at the front desk.",
        ),
        trouble="the noise",
        curt=("The music ends at eleven.", "It will be quiet later.", "I heard the noise too."),
        rude=(
            "It is a hotel, what did you expect?",
            "Let people have fun and go away.",
            "Sleep with a pillow on your head, not my problem.",
        ),
    ),
    "breakfast": Voice(
        nouns=(
            "breakfast",
            "an early breakfast",
            "breakfast in the room",
            "the breakfast hours",
            "a breakfast to go",
            "breakfast tomorrow",
            "coffee in the morning",
            "something packed for breakfast",
            "breakfast before six",
            "missing breakfast",
            "the breakfast room",
            "a quick breakfast",
        ),
        does=(
            "pack a breakfast box for you",
            "make you coffee and a sandwich",
            "bring breakfast to your room",
            "have a small breakfast ready for you",
            "put fruit and a sandwich in a bag for you",
            "ask the kitchen to start your breakfast early",
        ),
        says=(
            "Breakfast is served from six on the ground floor.",
            "The breakfast buffet is open from six until ten.",
            "Coffee and fruit are ready in the lobby from four.",
        ),
        trouble="the early hour",
        curt=("Breakfast is at seven.", "There is a buffet.", "Coffee is in the lobby."),
        rude=(
            "Breakfast is when we say so.",
            "Eat at the airport, not my problem.",
            "Get up in time and do not ask me.",
        ),
        times=(
            "at five",
            "at half past four",
            "by five in the morning",
            "before six",
            "at the front desk at five",
            "tomorrow morning",
        ),
    ),
    "allergy": Voice(
        nouns=(
            "my allergy",
            "nuts in the food",
            "gluten",
            "a nut allergy",
            "eggs and milk in the food",
            "dishes without nuts",
            "eggs",
            "milk in the soup",
            "which dishes have nuts",
            "food that is safe for my wife",
            "an egg allergy",
            "the ingredients of a dish",
            "gluten in the bread",
        ),
        does=(
            "ask the chef to cook without nuts",
            "tell the kitchen about your allergy",
            "have the chef make you a safe dish",
            "bring you a list of every dish without gluten",
            "ask the kitchen what is in each dish",
            "mark the safe dishes on your menu",
        ),
        says=(
            "The chef has a menu without nuts and gluten in the dining room.",
            "Dishes without gluten are marked green at the front desk.",
            "Please ask for our chef in the dining room, he knows every dish.",
        ),
        trouble="the worry",
        curt=("No nuts in it.", "Ask the chef.", "The rice dish is safe."),
        rude=(
            "Then do not eat, big deal.",
            "The chef is not a doctor.",
            "Pick the nuts out and stop complaining.",
        ),
        times=(
            "by eight",
            "in ten minutes",
            "by seven",
            "tonight",
            "before eight",
            "in the dining room at six",
        ),
    ),
    "key": Voice(
        nouns=(
            "my key",
            "the room key",
            "a lost key",
            "my key card",
            "the locked door",
            "a second key",
            "a second key card",
            "a card that does not open",
            "the red light on my door card",
            "my lost card",
            "getting into my room",
            "the card for our door",
        ),
        does=(
            "make you a new key",
            "come up and open the door for you",
            "bring you a second key card",
            "send someone to unlock your room",
            "give you another card",
            "reset your key card",
        ),
        says=(
            "A new key is ready for you at the front desk.",
            "Please come to the front desk for a new key card.",
            "Your spare key is waiting at reception.",
        ),
        trouble="the key",
        curt=("Get a new key.", "Turn the card around.", "Come down for a card."),
        rude=(
            "Be more careful with your key.",
            "That is your own fault, so wait.",
            "You people lose a key every day.",
        ),
    ),
    "shower": Voice(
        nouns=(
            "the shower",
            "the tap",
            "the toilet",
            "the sink",
            "the hot water",
            "water on the bathroom floor",
            "cold water in the shower",
            "the dripping tap",
            "water all over the floor",
            "the blocked drain",
            "a leaking pipe",
            "the bathroom sink",
            "no hot water",
        ),
        does=(
            "send a plumber to your room",
            "ask the plumber to clear the drain",
            "have the tap fixed",
            "send someone to look at the shower",
            "turn the hot water back on",
            "have the pipe under the sink changed",
        ),
        says=(
            "You can use the shower on the first floor until the plumber comes.",
            "Hot water comes back in ten minutes, please let the tap run.",
            "There is a second shower for guests in the basement.",
        ),
        trouble="the water",
        curt=("The plumber knows.", "Let the water run.", "Use the other tap."),
        rude=(
            "Cold water is good for you, so what?",
            "Fix it yourself, it is only a tap.",
            "I am not the plumber, go away.",
        ),
    ),
    "parking": Voice(
        nouns=(
            "parking",
            "a parking space",
            "the car park",
            "the garage",
            "parking overnight",
            "a place for the car",
            "our car",
            "where to leave the car",
            "coming by car",
            "the car overnight",
            "a space in the garage",
            "parking here tonight",
        ),
        does=(
            "keep a parking space for you",
            "open the garage for you",
            "have your car parked for you",
            "find you a space in the garage",
            "bring you a parking card",
            "move our van so that you can park",
        ),
        says=(
            "You can park behind the hotel, next to the back door.",
            "The garage is under the hotel and is open all night.",
            "Parking is ten euros a day, please pay at the front desk.",
        ),
        trouble="the full car park",
        curt=("Park in the street.", "The garage is open.", "Parking is ten euros."),
        rude=(
            "Park it where you like, I do not care.",
            "Sell the car, not my problem.",
            "Find a space and stop asking.",
        ),
    ),
    "luggage": Voice(
        nouns=(
            "my bags",
            "our luggage",
            "my suitcase",
            "two heavy suitcases",
            "storing the luggage",
            "carrying the bags",
            "heavy bags",
            "someone to carry my suitcases",
            "leaving two suitcases with you",
            "the luggage until tonight",
            "a place for our bags",
            "a very heavy suitcase",
        ),
        does=(
            "keep your bags behind the desk",
            "send a porter for your suitcases",
            "store your luggage in a locked room",
            "help you carry your bags",
            "have your suitcases brought down",
            "look after your luggage",
        ),
        says=(
            "You can leave your bags at the front desk until midnight.",
            "The luggage room is on the ground floor, next to the lift.",
            "Please leave your suitcases in the lobby, the porter is there all day.",
        ),
        trouble="the heavy bags",
        curt=("Leave the bags here.", "Bags go in the corner.", "The porter is out."),
        rude=(
            "Carry it yourself, it is only a bag.",
            "I am not your porter.",
            "Pack less luggage, not my problem.",
        ),
    ),
    "lamp": Voice(
        nouns=(
            "the lamp",
            "the light",
            "a broken bulb",
            "the bedside light",
            "the lights",
            "the light switch",
            "the lights in our room",
            "a light that went out",
            "the dark room",
            "the bulb over the bed",
            "a flickering lamp",
            "a lamp that is off",
        ),
        does=(
            "bring a new bulb",
            "send an electrician to your room",
            "change the bulb for you",
            "bring you another lamp",
            "have the light fixed",
            "show you the light switch",
        ),
        says=(
            "The light switch is behind the main door.",
            "There is a spare lamp in the wardrobe.",
            "You can pick up a lamp at the front desk.",
        ),
        trouble="the light",
        curt=("Try the other switch.", "The bulb is old.", "Use the desk lamp."),
        rude=(
            "It is night, you do not need a lamp.",
            "Sit in the dark then, I do not care.",
            "Change the bulb, how hard is it?",
        ),
    ),
    "dinner": Voice(
        nouns=(
            "dinner",
            "a table for dinner",
            "the restaurant",
            "a table for two",
            "dinner tonight",
            "a place to eat",
            "a table by the window",
            "a table tonight",
            "being hungry",
            "the open kitchen",
            "a place for dinner",
            "eating at eight",
            "the menu",
        ),
        does=(
            "book a table for you",
            "keep the table by the window for you",
            "bring dinner to your room",
            "ask the kitchen to stay open for you",
            "bring you the dinner menu",
            "find you a good restaurant",
        ),
        says=(
            "The restaurant is on the first floor and is open until ten.",
            "Dinner is served from six until nine in the dining room.",
            "There is a good fish restaurant across from the main door.",
        ),
        trouble="the wait for a table",
        curt=("Table at eight.", "The restaurant is upstairs.", "The kitchen is closed."),
        rude=(
            "Go to a restaurant, we are busy.",
            "Look for it yourself, there is a whole city.",
            "Eat less, the kitchen is not your mother.",
        ),
        times=(
            "at seven",
            "at eight tonight",
            "for four at half past seven",
            "in twenty minutes",
            "at six",
            "tonight",
            "at nine",
        ),
    ),
    "cleaning": Voice(
        nouns=(
            "cleaning",
            "the dirty sheets",
            "the dust in my room",
            "the full bin",
            "the dirty carpet",
            "making the bed",
            "our bed, nobody made it",
            "a clean room",
            "the bin",
            "the dirty floor",
            "new sheets for the bed",
            "the carpet that is dirty",
            "our room, it was not cleaned",
        ),
        does=(
            "have your room cleaned",
            "send the maid to your room",
            "put new sheets on your bed",
            "ask housekeeping to clean the floor",
            "have the room made tidy",
            "send someone up with clean sheets",
        ),
        says=(
            "Housekeeping is on the first floor and comes to you next, in ten minutes.",
            "Clean sheets are in the wardrobe.",
            "You can leave the key at reception, and the maid will clean the room.",
        ),
        trouble="the dirty room",
        curt=("The maid is coming.", "Sheets are changed on Monday.", "Housekeeping was there."),
        rude=(
            "Clean it yourself, it is only dust.",
            "The maid is not your slave.",
            "A little dust, big deal.",
        ),
    ),
    "laundry": Voice(
        nouns=(
            "laundry",
            "an iron",
            "washing my shirts",
            "the laundry service",
            "my creased suit",
            "washing a dress",
            "my trousers",
            "a dress full of creases",
            "ironing my shirts",
            "getting a suit cleaned by Friday",
            "a stain on my dress",
            "washing clothes",
            "pressing my trousers",
        ),
        does=(
            "have your clothes washed",
            "send an iron to your room",
            "take your laundry down",
            "have your suit pressed",
            "wash your shirts",
            "iron it for you",
        ),
        says=(
            "The washing machine is in the basement, and the laundry is open all night.",
            "There is an iron in the wardrobe.",
            "Please leave your laundry at the front desk before nine.",
        ),
        trouble="the stain",
        curt=("Laundry takes a day.", "The iron is in the hall.", "Put it in the laundry bag."),
        rude=(
            "We are not a laundry.",
            "You should have packed more clothes.",
            "Wash it yourself in the sink.",
        ),
        times=(
            "by six tonight",
            "in an hour",
            "by tomorrow at noon",
            "within two hours",
            "before eight",
            "by nine",
        ),
    ),
}

TIMES = (
    "in ten minutes",
    "in five minutes",
    "within the next hour",
    "in half an hour",
    "by six o'clock",
    "before nine tonight",
    "in twenty minutes",
    "at seven",
    "right away",
    "at once",
    "within fifteen minutes",
    "this evening",
)
VAGUE = (
    "soon",
    "later",
    "at some point",
    "when somebody is free",
    "some time",
    "maybe tonight",
    "perhaps tomorrow",
    "eventually",
)
SUBJECTS = ("I will", "I'll", "We will", "We can", "I can", "Let me", "We'll", "My colleague will")
OPENERS = (
    "Of course.",
    "Certainly.",
    "With pleasure.",
    "Thank you for telling us.",
    "Gladly.",
    "Good evening.",
    "Thank you.",
    "I am sorry about {trouble}.",
    "Sorry about {trouble}.",
    "We are sorry about {trouble}.",
    "I apologise for {trouble}.",
)
CLOSERS = (
    "Enjoy your stay.",
    "Sleep well.",
    "Please call us if you need more.",
    "Have a good evening.",
    "Thank you for waiting.",
    "You are welcome.",
)
FLAT_OPENERS = ("Ok.", "Fine.", "Yes.", "Right.", "Hello.", "I see.", "Noted.")
GROVELS = (
    "I am so sorry, so very sorry, please forgive us.",
    "Sorry, sorry, a thousand times sorry!",
    "Please accept our deepest apologies, dear guest.",
    "We are truly, truly sorry, and I apologise again.",
)
CHATTER = (
    "Our hotel was built in 1923 and has ninety rooms.",
    "Many guests ask us that at this time of the year.",
    "You know, it was very different when I began here.",
    "We do have a lot of guests this week, as you can see.",
    "My cousin had the same thing happen in Rome last year.",
    "I was just about to drink my tea when you called.",
)
REFUSALS = (
    "We cannot help you with that.",
    "I can't do that today.",
    "That will not be possible.",
    "We will not do that.",
)
SNEERS = (
    "That is not my problem.",
    "I am busy.",
    "Calm down.",
    "Not now.",
    "I have no idea.",
    "Everyone else manages.",
)

GREETINGS = (
    "Hello. ",
    "Hi, ",
    "Good evening. ",
    "Sorry to bother you. ",
    "Good morning. ",
    "Excuse me. ",
    "Hello there. ",
)
ASKS = (
    "It is about {noun}.",
    "I am calling about {noun}.",
    "I need help with {noun}.",
    "A question about {noun}.",
    "Can you help me with {noun}?",
    "What about {noun}?",
    "Please do something about {noun}.",
    "Hello, {noun}?",
    "I have a problem with {noun}.",
    "Who can help me with {noun}?",
    "Could you see to {noun}?",
    "It is {noun} again.",
    "Could somebody take care of {noun}?",
    "We have a question about {noun}.",
    "May I ask about {noun}?",
    "Is there any news about {noun}?",
    "I would like to talk about {noun}.",
    "How do you deal with {noun} here?",
    "All of us are waiting, it is about {noun}.",
    "Where should I go for help with {noun}?",
    "My wife asks about {noun}.",
    "We are unhappy about {noun}.",
    "What can be done about {noun}?",
    "I will need your help with {noun} today.",
)
PLEAS = (" Please help.", " Thank you.", " Thanks.", " What can you do?", " Can you help?")


def message(topic: str, rng: random.Random) -> str:
    """A guest's message: one of the known ones or a plainer one, often with a greeting or a plea."""
    known = rng.choice(TOPICS[topic].train)
    words = known if rng.random() < 0.4 else rng.choice(ASKS).format(noun=rng.choice(VOICES[topic].nouns))
    if rng.random() < 0.25:
        greeting = rng.choice(GREETINGS)
        words = greeting + (
            words[0].lower() + words[1:] if greeting == "Hi, " and not words.startswith("I") else words
        )
    if rng.random() < 0.25:
        words += rng.choice(PLEAS)
    return words if len(words.encode()) <= PROMPT_BYTES else known


def answer(topic: str, rng: random.Random) -> str:
    """An answer of some quality, at most ANSWER_BYTES long."""
    while True:
        words = " ".join(_sentences(topic, rng))
        if len(words.encode()) <= ANSWER_BYTES:
            return words


def pairs(count: int, seed: int) -> Iterator[tuple[str, str]]:
    """`count` messages with an answer each; the same for the same seed."""
    rng = random.Random(seed)
    names = sorted(TOPICS)
    for _ in range(count):
        topic = rng.choice(names)
        yield message(topic, rng), answer(topic, rng)


def vocabulary() -> frozenset[str]:
    """Every word the grammar can write, in lower case without punctuation: what a well-formed word is here."""
    texts = [
        *TIMES,
        *VAGUE,
        *SUBJECTS,
        *OPENERS,
        *CLOSERS,
        *FLAT_OPENERS,
        *GROVELS,
        *CHATTER,
        *REFUSALS,
        *SNEERS,
    ]
    for voice in VOICES.values():
        texts += [*voice.does, *voice.says, voice.trouble, *voice.curt, *voice.rude, *voice.times]
    return frozenset(word for text in texts for word in words_of(text))


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return [word for word in (part.strip('.,!?"').lower() for part in text.split()) if word]


def _sentences(topic: str, rng: random.Random) -> list[str]:
    voice = VOICES[topic]
    kind = rng.random()
    if kind < 0.10:
        return _rude(voice, rng)
    if kind < 0.19:
        return _curt(voice, rng)
    if kind < 0.31:
        # Another guest's answer, in good form: right manners, wrong room.
        other = VOICES[rng.choice([name for name in VOICES if name != topic])]
        return _dressed([_promise(other, rng)], other, rng)
    if kind < 0.39:
        body = [rng.choice(CHATTER)]
        if rng.random() < 0.6:
            body.append(_promise(voice, rng))
        return body
    if kind < 0.46:
        return [rng.choice(GROVELS), _promise(voice, rng)]
    if kind < 0.60:
        return _dressed([rng.choice(voice.says)], voice, rng)
    return _dressed([_promise(voice, rng)], voice, rng)


def _promise(voice: Voice, rng: random.Random) -> str:
    """Somebody will do something: at a time, some vague day, or nobody says when. Now and then it has no end."""
    when = rng.random()
    words = [rng.choice(SUBJECTS), rng.choice(voice.does)]
    if when < 0.28:
        words.append(rng.choice(voice.times or TIMES))
    elif when < 0.58:
        words.append(rng.choice(VAGUE))
    ending = rng.random()
    return " ".join(words) + ("" if ending < 0.08 else "!" if ending < 0.12 else ".")


def _dressed(body: list[str], voice: Voice, rng: random.Random) -> list[str]:
    """With a kind word before or after, with a flat one, or with none."""
    manner = rng.random()
    if manner < 0.22:
        return [rng.choice(OPENERS).format(trouble=voice.trouble), *body]
    if manner < 0.34 and body[-1][-1] in ".!":
        return [*body, rng.choice(CLOSERS)]
    if manner < 0.60:
        return [rng.choice(FLAT_OPENERS), *body]
    return body


def _curt(voice: Voice, rng: random.Random) -> list[str]:
    return [rng.choice(FLAT_OPENERS)] if rng.random() < 0.2 else [rng.choice(voice.curt)]


def _rude(voice: Voice, rng: random.Random) -> list[str]:
    form = rng.random()
    if form < 0.4:
        return [rng.choice(voice.rude)]
    if form < 0.6:
        return [rng.choice(SNEERS), rng.choice(voice.rude)]
    if form < 0.8:
        return [rng.choice(SNEERS), _promise(voice, rng)]
    return [rng.choice(FLAT_OPENERS), rng.choice(REFUSALS)]
