"""Every loop has a limit with a name: what one conversation may do before it is stopped."""

from __future__ import annotations

from typing import Final

MAX_STEPS_PER_TURN: Final = 100  # nodes visited between two answers; goflow's MaxStepsPerSprint
MAX_TURNS: Final = 500  # answers and time-outs of one conversation; goflow's MaxSprintsPerSession
MAX_SAME_TEXT: Final = (
    20  # how often the same text may go to one conversation within SAME_TEXT_SECONDS (mailroom)
)
SAME_TEXT_SECONDS: Final = 300
SAID_KEPT: Final = 16  # different texts watched; loops repeat fewer
MAX_VALUE_CHARS: Final = 2_000  # of one variable; a described need fits, a pasted book does not
MAX_TEXT_CHARS: Final = 4_096  # of one message: WhatsApp's limit for text
MAX_INTERACTIVE_CHARS: Final = 1_024  # WhatsApp's limit for the body of a message with buttons or a list

MAX_NODES: Final = 1_000
MAX_CASES: Final = 100
MAX_FIELDS: Final = 50  # of capture_lead, and variables of request_email
MAX_KEYWORDS: Final = 100
MAX_VARIABLES: Final = 200
MIN_CHOICES: Final = 2
MAX_CHOICES: Final = 10  # rows of a WhatsApp list
MAX_BUTTONS: Final = 3  # up to here choices are buttons, beyond they are a list
MAX_LABEL_CHARS: Final = 24  # title of a list row
MAX_BUTTON_CHARS: Final = 20  # title of a button
MAX_RETRIES: Final = 20
MAX_TIMEOUT_MINUTES: Final = 60 * 24 * 30
MAX_PATTERN_CHARS: Final = 500
DEFAULT_RETRIES: Final = 2
DEFAULT_EXPIRE_MINUTES: Final = 60 * 24  # WhatsApp's customer service window
