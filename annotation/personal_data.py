"""Finds personal data in texts: addresses and numbers by which a person can be reached, paid or traced.

It looks for patterns and checks them (check digits, number plans, address ranges), and would rather miss than cry
wolf: a version number is no address of a machine, a serial number no telephone. Names it cannot find.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

KINDS = {
    "email": "an e-mail address",
    "phone": "a telephone number",
    "card": "a payment card",
    "iban": "a bank account",
    "ip": "an IP address",
}


@dataclass(frozen=True)
class Finding:
    """What was found, of which kind, and where: characters from `start` up to `end`."""

    kind: str
    start: int
    end: int
    text: str


def find(text: str, regions: Iterable[str] = ()) -> list[Finding]:
    """Everything found in a text, in its order. `regions` are countries whose own numbers to know, like DE.

    Telephone numbers are found where they begin with + and a country's code; and as they are written in `regions`.
    """
    found: list[Finding] = []
    for search in (emails, ibans, cards, addresses):
        found += [one for one in search(text) if not any(overlap(one, other) for other in found)]
    for region in (None, *regions):
        found += [one for one in phones(text, region) if not any(overlap(one, other) for other in found)]
    return sorted(found, key=lambda one: one.start)


def overlap(one: Finding, other: Finding) -> bool:
    return one.start < other.end and other.start < one.end


# --- e-mail

EMAIL = re.compile(
    r"(?<![\w.+%@/-])[A-Za-z0-9](?:[\w.+%-]{0,62}[\w+%-])?@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+"
    r"[A-Za-z]{2,24}(?![\w-]|\.\w)"
)
RESERVED = re.compile(r"(?:^|\.)(?:example(?:\.(?:com|net|org))?|test|invalid|localhost|local)$", re.I)
"""Domains that nobody can have: documents use them for examples."""
NOBODY = {"git", "noreply", "no-reply", "donotreply", "do-not-reply"}
FILES = {"png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js"}
"""Not top-level domains but endings of files: logo@2x.png."""


def emails(text: str) -> Iterator[Finding]:
    if "@" not in text:
        return
    for match in EMAIL.finditer(text):
        name, _, domain = match[0].rpartition("@")
        if RESERVED.search(domain) or name.lower() in NOBODY or domain.rpartition(".")[2].lower() in FILES:
            continue
        yield Finding("email", match.start(), match.end(), match[0])


# --- money

IBAN = re.compile(
    r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?:[ ]?[A-Z0-9]{4}){2,7}(?:[ ]?[A-Z0-9]{1,4})?(?![A-Za-z0-9])"
)
CARD = re.compile(
    r"(?<![\w.+-])(?:\d{4}([ -]?)\d{4}\1\d{4}\1\d{4}|3[47]\d{2}([ -]?)\d{6}\2\d{5})(?![\w-]|\.\d)"
)
BRANDS = re.compile(
    r"4\d{15}$|5[1-5]\d{14}$|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}$|3[47]\d{13}$"
    r"|6(?:011|4[4-9]\d|5\d\d)\d{12}$|35(?:2[89]|[3-8]\d)\d{12}$|62\d{14}$"
)


def ibans(text: str) -> Iterator[Finding]:
    from stdnum import iban

    for match in IBAN.finditer(text):
        words = match[0].split(" ")
        while words:  # a word in capitals behind the number is none of it
            number = " ".join(words)
            if iban.is_valid(number):
                yield Finding("iban", match.start(), match.start() + len(number), number)
                break
            words.pop()


def cards(text: str) -> Iterator[Finding]:
    from stdnum import luhn

    for match in CARD.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        if BRANDS.match(digits) and luhn.is_valid(digits):
            yield Finding("card", match.start(), match.end(), match[0])


# --- machines

IPV4 = re.compile(
    r"(?<![\w.-])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\w-]|\.\d)"
)
IPV6 = re.compile(r"(?<![\w:.])[23][0-9A-Fa-f]{3}:(?:[0-9A-Fa-f]{0,4}:){1,6}[0-9A-Fa-f]{1,4}(?![\w:]|\.\d)")
"""Of the part of the net that is given to anybody: 2000::/3."""
NUMBERED = re.compile(
    r"(?:\bv|\b(?:version|release|section|chapter|clause|paragraph|build|rev)\.?|§)\s*$", re.I
)
"""What stands before a number of four parts that counts versions or sections."""
RESOLVERS = {"1.0.0.1", "1.1.1.1", "8.8.4.4", "8.8.8.8", "9.9.9.9"}
"""Everybody's name servers, which lead to nobody."""


def addresses(text: str) -> Iterator[Finding]:
    for match in IPV4.finditer(text):
        parts = [int(part) for part in match[0].split(".")]
        if NUMBERED.search(text[max(0, match.start() - 20) : match.start()]) or max(parts) < 32:
            continue
        if match[0] not in RESOLVERS and public(match[0]):
            yield Finding("ip", match.start(), match.end(), match[0])
    if text.count(":") >= 2:
        for match in IPV6.finditer(text):
            if public(match[0]):
                yield Finding("ip", match.start(), match.end(), match[0])


def public(address: str) -> bool:
    """Whether an address is one of the open net: private, reserved and documentation's lead to nobody."""
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


# --- telephones

CALLED = re.compile(r"\+[ (]?\d(?:[\d ().\-/]{5,})\d")
DIALLED = re.compile(r"\d(?:[\d ().\-/]{5,})\d")


def phones(text: str, region: str | None) -> Iterator[Finding]:
    """Numbers that a number plan knows. The matcher is slow, so that it looks only where there are digits enough."""
    if not (DIALLED if region else CALLED).search(text):
        return
    import phonenumbers

    strict = phonenumbers.Leniency.STRICT_GROUPING if region else phonenumbers.Leniency.VALID
    for match in phonenumbers.PhoneNumberMatcher(text, region, leniency=strict):
        before = text[match.start - 1 : match.start]
        if not before or not (before.isalnum() or before in "=_"):
            yield Finding("phone", match.start, match.end, match.raw_string)
