"""What can go wrong between a person and the queue, in words they can act on."""


class Conflict(Exception):
    """The request was fine, but somebody was faster or it was answered already. `holder` says who has it."""

    def __init__(self, message: str, holder: str | None = None):
        super().__init__(message)
        self.holder = holder


class Invalid(Exception):
    """What was sent cannot be right; `field` names the part to mend."""

    def __init__(self, message: str, field: str | None = None):
        super().__init__(message)
        self.field = field
