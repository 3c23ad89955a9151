"""A share between 0 and 1 on a page: as words, and as a length."""

from django import template

register = template.Library()


@register.filter
def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


@register.filter
def css(share: float) -> str:
    """A length that CSS reads, whatever the language of the page."""
    return f"{100 * share:.2f}%"


@register.filter
def rest(share: float) -> float:
    return 1 - share
