"""What was sent and refused, so that a form shows it again: {% load posted %} {{ posted|sent:"text" }}."""

from django import template

register = template.Library()


@register.filter
def sent(posted, field: str) -> str | None:
    """What a field held; None where nothing was sent, or not this field."""
    return posted.get(field) if posted else None
