"""What the screen finds in texts, and what it leaves alone: it would rather miss than cry wolf."""

import time

import pytest

from annotation.personal_data import find


def kinds(text: str, *regions: str) -> list[str]:
    return [one.kind for one in find(text, regions)]


@pytest.mark.parametrize(
    ("text", "kind", "found"),
    [
        ("Write to ada.lovelace@engine.org, please.", "email", "ada.lovelace@engine.org"),
        ("(mail: a+b_c@sub.domain.co.uk)", "email", "a+b_c@sub.domain.co.uk"),
        ("Call +44 20 7946 0018 after six.", "phone", "+44 20 7946 0018"),
        ("Ring +1 (650) 253-0000.", "phone", "+1 (650) 253-0000"),
        ("Card 4111 1111 1111 1111, thanks", "card", "4111 1111 1111 1111"),
        ("Card 5500-0055-5555-5559.", "card", "5500-0055-5555-5559"),
        ("amex 3782 822463 10005", "card", "3782 822463 10005"),
        ("Pay to DE89 3704 0044 0532 0130 00 today", "iban", "DE89 3704 0044 0532 0130 00"),
        ("GB82WEST12345698765432", "iban", "GB82WEST12345698765432"),
        ("He wrote from 84.112.7.200 at night.", "ip", "84.112.7.200"),
        ("Host 2a02:8388:1:2::5 answered", "ip", "2a02:8388:1:2::5"),
    ],
)
def test_what_leads_to_a_person_is_found_at_its_place(text, kind, found):
    (one,) = find(text)
    assert (one.kind, one.text, text[one.start : one.end]) == (kind, found, found)


@pytest.mark.parametrize(
    "text",
    [
        "Meet me @noon, or ask @ada.",
        "npm install react@18.2.0 and lodash@latest",
        "Write to info@example.com or root@localhost.",
        "git clone git@github.com:kibitz/kibitz.git",
        "The picture is logo@2x.png.",
        "The @property decorator of functools@home",
        "a@b",
        "Version 10.15.7.200 and v192.0.99.4, see section 84.12.7.200.",
        "Chapter 1.2.3.4 follows 1.2.3.3.",
        "ping 127.0.0.1, 192.168.1.20, 10.0.0.5, 192.0.2.44, 8.8.8.8",
        "300.200.100.50 is no address, and 84.112.7.200.5 neither",
        "At 12:34:56 on 2026-11-22; std::vector; a::b; ratio 1:2:3",
        "::1 and fe80::1 are near",
        "4111 1111 1111 1112",
        "The order 1234 5678 9012 3456 is on its way.",
        "0000 0000 0000 0000",
        "ISBN 978-3-16-148410-0",
        "1700000000000 milliseconds since 1970",
        "pi is 3.14159265358979323846",
        "DE89 3704 0044 0532 0130 01",
        "GB29 ABCD is a form, US12 3456 7890 a label",
        "Call 555-0123 or extension 42.",
        "2026-11-22 to 2026-12-24, pages 100-200",
        "1 + 234 567 890 = 234 567 891",
        "UUID 123e4567-e89b-12d3-a456-426614174000",
        "In 1999, 2000 and 2001 he sold 1 000 000.",
        "x = 650 253 0000",
    ],
)
def test_near_misses_are_left_alone(text):
    assert find(text) == []


def test_a_countrys_own_numbers_are_found_where_it_is_named():
    text = "Unsere Nummer: 030 901820, täglich."
    assert kinds(text) == []
    assert kinds(text, "DE") == ["phone"]


def test_all_that_is_in_one_text_is_found_once_and_in_its_order():
    text = "ada@engine.org, +44 20 7946 0018, DE89370400440532013000, 4111111111111111, 84.112.7.200"
    assert kinds(text) == ["email", "phone", "iban", "card", "ip"]


def test_a_number_of_an_account_is_not_called_a_telephone():
    assert kinds("DE89 3704 0044 0532 0130 00", "DE", "US") == ["iban"]


def test_a_long_text_is_read_in_time():
    awkward = (
        "a." * 20_000 + "@" + "1:2:" * 5_000 + "12.34." * 5_000 + "AB12 3456 " * 5_000 + "+1 2 3 4 5 6" * 500
    )
    began = time.perf_counter()
    find(awkward)
    assert time.perf_counter() - began < 5
