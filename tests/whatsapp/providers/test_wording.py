"""Our text fits the provider's limits and nothing of it is lost on the way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.whatsapp.providers import SENDERS, Choice, wording
from tests.whatsapp.providers.cases import CASES

FAMILY = "👨‍👩‍👧"


def squeezed(*texts: str) -> str:
    """The texts without white space, where parts may be broken."""
    return "".join("".join(texts).split())


def test_a_text_is_broken_at_paragraphs_sentences_and_words() -> None:
    assert wording.split("Uno dos.\n\nTres cuatro.", 14) == ["Uno dos.", "Tres cuatro."]
    assert wording.split("Uno dos. Tres cuatro.", 14) == ["Uno dos.", "Tres cuatro."]
    assert wording.split("Uno dos tres", 8) == ["Uno dos", "tres"]
    assert wording.split("Unodostres", 5) == ["Unodo", "stres"]


@pytest.mark.parametrize("emoji", [FAMILY, "👋🏽", "🇪🇸", "é", "❤️", "1️⃣"])
def test_an_emoji_or_accent_is_never_torn(emoji: str) -> None:
    for part in wording.split("x" + emoji * 20, wording.units(emoji) * 3):
        assert part.removeprefix("x").replace(emoji, "") == ""


def test_an_endless_cluster_still_ends() -> None:
    parts = wording.split("a" + "\u0301" * 50, 10)
    assert max(map(wording.units, parts)) <= 10
    assert "".join(parts) == "a" + "\u0301" * 50


@given(st.text(max_size=300), st.integers(2, 50), st.integers(2, 50))
def test_parts_fit_and_lose_nothing(text: str, limit: int, last: int) -> None:
    last = min(last, limit)
    parts = wording.split(text, limit, last)
    assert squeezed(*parts) == squeezed(text)
    assert all(wording.units(part) <= limit for part in parts)
    assert wording.units(parts[-1]) <= last


def test_room_is_left_beside_choices_without_tiny_parts() -> None:
    parts = wording.split("palabra " * 198, 1600, 40)
    assert len(parts) == 2


@given(st.text(max_size=100), st.integers(5, 30))
def test_a_cut_text_fits(text: str, limit: int) -> None:
    assert wording.units(wording.cut(text, limit)) <= limit


@given(st.lists(st.text(max_size=40), min_size=1, max_size=10))
def test_titles_fit_and_differ_and_none_is_empty(labels: list[str]) -> None:
    titles = wording.titles(labels, 20)
    assert len({t.casefold() for t in titles}) == len(labels)
    assert all(0 < wording.units(t) <= 20 for t in titles)


@pytest.mark.parametrize("name", CASES)
@given(
    text=st.text(max_size=200), repeats=st.integers(1, 60), count=st.integers(1, 12), size=st.integers(1, 200)
)
def test_whatever_the_choices_the_last_part_has_room_for_them(
    name: str, text: str, repeats: int, count: int, size: int
) -> None:
    sender = SENDERS[name]
    choices = [Choice(id=f"c{n}", label=f"{n}" * size) for n in range(count)]
    parts = sender.split(text * repeats, choices)
    assert squeezed(*parts) == squeezed(text * repeats)
    as_lines = count > sender.limits.choices
    room = sender.limits.text if as_lines else sender.limits.text_with_choices
    last = wording.with_numbers(parts[-1], choices) if as_lines else parts[-1]
    assert wording.units(last) <= room
    assert all(wording.units(part) <= sender.limits.text for part in parts)


def test_choices_become_lines_with_their_numbers() -> None:
    choices = [Choice(id="a", label="Catálogo"), Choice(id="b", label=" Precios\n y más ")]
    assert wording.with_numbers("Elige: ", choices) == "Elige:\n\n1. Catálogo\n2. Precios y más"


@pytest.mark.parametrize(
    "private",
    [
        "+34600123456",
        "34600123456",
        "whatsapp:+34 600 123 456",
        "(600) 123-4567",
        "ann@example.com",
        "s3cret-token",
    ],
)
def test_a_providers_sentence_loses_what_is_private(private: str) -> None:
    sentence = wording.scrub(f"Error 131026 for {private}: nothing sent", "s3cret-token")
    assert private not in sentence
    assert sentence.startswith("Error 131026 for ")
    assert sentence.endswith(": nothing sent")
