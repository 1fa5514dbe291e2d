"""The funnel's stages: names in both languages, colour, order and what they mean (open, won, lost)."""

from __future__ import annotations

from typing import Any

from flask_babel import lazy_gettext as _l
from wtforms import IntegerField, StringField, validators
from wtforms.widgets import ColorInput

from app.admin.menu import MenuEntry
from app.admin.views import CommandInterface, CommandView
from app.leads import commands
from app.leads.models import Stage

KINDS = {
    "open": (_l("Open"), "blue"),
    "won": (_l("Won"), "green"),
    "lost": (_l("Lost"), "red"),
}


class StageView(CommandView):
    """Stages."""

    datamodel = CommandInterface(
        Stage,
        add=lambda values: commands.add_stage(values),
        edit=lambda key, changes: commands.change_stage(key, changes),
        delete=lambda key: commands.remove_stage(key),
    )
    class_permission_name = "Stages"
    roles = {"read": ("manager",), "write": ("manager",)}
    route_base = "/admin/stages"
    menu = MenuEntry("sales", _l("Stages"), "fa-list-ol", position=40)
    list_title, add_title, edit_title, show_title = (
        _l("Stages"),
        _l("New stage"),
        _l("Edit stage"),
        _l("Stage"),
    )
    base_order = ("position", "asc")
    list_columns = show_columns = ["position", "name_es", "name_en", "kind", "key"]
    order_columns = ["position"]
    search_columns: list[str] = []
    choices = {"kind": KINDS}
    label_columns = {
        "position": _l("Order"),
        "name_es": _l("Spanish name"),
        "name_en": _l("English name"),
        "kind": _l("Kind"),
        "key": _l("Key"),
        "colour": _l("Colour"),
    }
    add_columns = ["name_es", "name_en", "key", "kind", "colour", "position"]
    edit_columns = ["name_es", "name_en", "kind", "colour", "position"]
    description_columns = {"key": _l("For the API: small letters, digits and _; it cannot be changed later")}

    def __init__(self, **kwargs: Any) -> None:
        extra = {
            "colour": StringField(self.label_columns["colour"], widget=ColorInput(), default="#64748b"),
            "position": IntegerField(
                self.label_columns["position"], validators=[validators.InputRequired()], default=0
            ),
        }
        self.add_form_extra_fields = dict(extra)
        self.edit_form_extra_fields = dict(extra)
        super().__init__(**kwargs)
