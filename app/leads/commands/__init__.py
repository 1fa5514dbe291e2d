"""What can be done to leads; every door calls exactly one of these inside its transaction."""

from app.leads.commands.capture import capture_lead
from app.leads.commands.change import (
    add_note,
    assign_lead,
    change_lead,
    delete_lead,
    move_lead,
    record_email,
    restore_lead,
    tag_lead,
)
from app.leads.commands.create import create_lead
from app.leads.commands.stages import add_stage, change_stage, remove_stage

__all__ = [
    "add_note",
    "add_stage",
    "assign_lead",
    "capture_lead",
    "change_lead",
    "change_stage",
    "create_lead",
    "delete_lead",
    "move_lead",
    "record_email",
    "remove_stage",
    "restore_lead",
    "tag_lead",
]
