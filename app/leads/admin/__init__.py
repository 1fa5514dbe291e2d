"""The screens of leads: list and card, the board, the stages, and their part of the home page."""

from __future__ import annotations

from typing import Any

from app.admin.menu import add_screen
from app.leads.admin.airtable import AirtableView
from app.leads.admin.airtable_setup import AirtableSetupView
from app.leads.admin.airtable_stand_in import StandInView
from app.leads.admin.board import BoardView
from app.leads.admin.dashboard import add_to_home
from app.leads.admin.leads import LeadView
from app.leads.admin.stages import StageView


def register(appbuilder: Any) -> None:
    """Add the screens to FAB; called once per app."""
    add_screen(appbuilder, BoardView)
    add_screen(appbuilder, LeadView)
    add_screen(appbuilder, StageView)
    add_screen(appbuilder, AirtableView)
    add_screen(appbuilder, AirtableSetupView)
    add_screen(appbuilder, StandInView)
    add_to_home(appbuilder)
