"""What a new installation begins with: the funnel's stages, and people who do not exist to show what it is for.

Fictional throughout: addresses under example.com (RFC 2606), telephone numbers from the runs 600 000 0xx (Spain),
55 5555 01xx (Mexico) and 555-01xx (North America, reserved for fiction). Their source is "demo", which the e-mail
service leaves alone: nobody is welcomed.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select

from app.kit.auth import SYSTEM
from app.kit.db import db, transaction, utcnow
from app.kit.rows import insert_once
from app.leads.commands import add_note, create_lead, move_lead
from app.leads.commands import airtable_settings as settings
from app.leads.jobs.calls import plain_columns
from app.leads.matching import fold
from app.leads.models import FIRST_STAGES, Lead, LeadEvent, Stage
from app.leads.providers import BaseInfo, TableInfo
from app.leads.providers.airtable import read_column
from app.leads.providers.fake import LEADS_BASE
from app.leads.providers.fake.store import LEADS_TABLE
from app.leads.queries import airtable
from app.leads.queries.airtable_stand_in import local_stand_in

DEMO = replace(SYSTEM, name="Demo")
# Name, company, phone, stage, amount, currency, language, tags, days since it came in, note.
PEOPLE: tuple[tuple[str, str, str, str, int | None, str, str, tuple[str, ...], int, str], ...] = (
    ("Lucía Fernández", "Panadería La Espiga", "+34600000011", "new", 1200, "EUR", "es", ("web",), 0, ""),
    ("Mateo Ruiz", "Ruiz Reformas", "+34600000012", "new", None, "EUR", "es", (), 0, ""),
    ("Valentina Torres", "Café del Puerto", "+525555550101", "new", 18000, "MXN", "es", ("whatsapp",), 0, ""),
    ("Emily Carter", "Carter & Sons", "+12025550111", "new", 2400, "USD", "en", ("web",), 1, ""),
    ("Hugo Navarro", "Clínica Navarro", "+34600000013", "new", 3600, "EUR", "es", ("vip",), 1, ""),
    ("Sofía Herrera", "", "+34600000014", "new", None, "EUR", "es", (), 2, ""),
    ("Oliver Bennett", "Bennett Gardens", "+12025550112", "new", 900, "USD", "en", (), 2, ""),
    ("Camila Ortega", "Boutique Ortega", "+525555550102", "new", 9500, "MXN", "es", ("web",), 3, ""),
    ("Diego Castillo", "Transportes Castillo", "+34600000015", "contacted", 5200, "EUR", "es", (), 3, "Pide llamada por la mañana."),
    ("Martina Vega", "Estudio Vega", "+34600000016", "contacted", 2100, "EUR", "es", ("whatsapp",), 4, ""),
    ("Grace Mitchell", "Mitchell Law", "+12025550113", "contacted", 7800, "USD", "en", ("vip",), 4, "Prefers e-mail."),
    ("Álvaro Molina", "Molina Óptica", "+34600000017", "contacted", 1500, "EUR", "es", (), 5, ""),
    ("Renata Jiménez", "Jiménez Eventos", "+525555550103", "contacted", 32000, "MXN", "es", ("feria",), 5, ""),
    ("Jack Morrison", "", "+12025550114", "contacted", None, "USD", "en", (), 6, ""),
    ("Carmen Ibáñez", "Viajes Ibáñez", "+34600000018", "contacted", 4300, "EUR", "es", ("web",), 6, ""),
    ("Nicolás Paredes", "Paredes Software", "+34600000019", "contacted", 8900, "EUR", "es", (), 7, ""),
    ("Isabella Romero", "Gimnasio Activa", "+34600000020", "qualified", 6400, "EUR", "es", ("whatsapp",), 7, "Decide con su socio."),
    ("Thomas Walker", "Walker Bikes", "+12025550115", "qualified", 3900, "USD", "en", ("web",), 8, ""),
    ("Elena Santos", "Academia Santos", "+34600000021", "qualified", 2750, "EUR", "es", (), 8, ""),
    ("Joaquín Medina", "Hotel Bahía", "+34600000022", "qualified", 15800, "EUR", "es", ("vip", "feria"), 9, "Tres sedes."),
    ("Regina Flores", "Florería Regina", "+525555550104", "qualified", 12500, "MXN", "es", (), 9, ""),
    ("Charlotte Hughes", "Hughes Dental", "+12025550116", "qualified", 9200, "USD", "en", (), 10, ""),
    ("Adrián Campos", "Autoescuela Campos", "+34600000023", "qualified", 1900, "EUR", "es", ("web",), 11, ""),
    ("Paula Guerrero", "Guerrero Moda", "+34600000024", "proposal", 7300, "EUR", "es", ("whatsapp",), 11, "Propuesta enviada."),
    ("Bruno Salazar", "Salazar Logística", "+525555550105", "proposal", 84000, "MXN", "es", ("vip",), 12, ""),
    ("Amelia Foster", "Foster Interiors", "+12025550117", "proposal", 11500, "USD", "en", ("web",), 13, "Wants a second user."),
    ("Gabriel Rojas", "Rojas Energía Solar", "+34600000025", "proposal", 22400, "EUR", "es", ("feria",), 14, ""),
    ("Noa Cabrera", "Veterinaria Cabrera", "+34600000026", "proposal", 3100, "EUR", "es", (), 15, ""),
    ("Leo Marín", "Marín Consultores", "+34600000027", "proposal", 6700, "EUR", "es", (), 16, ""),
    ("Ximena Delgado", "Inmobiliaria Delgado", "+525555550106", "won", 96000, "MXN", "es", ("vip",), 18, "Firmado."),
    ("William Brooks", "Brooks Coffee", "+12025550118", "won", 5400, "USD", "en", ("web",), 20, ""),
    ("Daniela Prieto", "Prieto Abogados", "+34600000028", "won", 12900, "EUR", "es", ("whatsapp",), 21, ""),
    ("Samuel Lozano", "Lozano Deportes", "+34600000029", "won", 4800, "EUR", "es", (), 23, ""),
    ("Henry Collins", "Collins Farm", "+12025550119", "won", 8100, "USD", "en", (), 26, ""),
    ("Julia Cortés", "Librería Cortés", "+34600000030", "won", 2300, "EUR", "es", ("feria",), 29, ""),
    ("Marcos Peña", "Peña Construcciones", "+34600000031", "lost", 18500, "EUR", "es", (), 19, "Sin presupuesto este año."),
    ("Abigail Turner", "Turner Events", "+12025550120", "lost", 2600, "USD", "en", ("web",), 22, ""),
    ("Fernanda Ríos", "Ríos Catering", "+525555550107", "lost", 15000, "MXN", "es", (), 25, ""),
    ("Iván Soler", "Soler Náutica", "+34600000032", "lost", 7700, "EUR", "es", (), 28, "Eligió a otro."),
    ("Alba Crespo", "", "+34600000033", "lost", None, "EUR", "es", (), 30, ""),
)  # fmt: skip


def seed() -> None:
    """Give an empty funnel its stages; one that has any is the team's own and stays as it is."""
    with transaction():
        if db.session.scalar(select(func.count()).select_from(Stage)):
            return
        for position, stage in enumerate(FIRST_STAGES):
            insert_once(Stage, {**stage, "position": position}, ["key"])


def load_demo() -> list[str]:
    """Make the demo leads where no demo lead was ever made; a second call makes none."""
    with transaction():
        if db.session.scalar(select(func.count()).select_from(Lead).where(Lead.source == "demo")):
            return []
        made = sum(_make(*person) for person in PEOPLE)
    return [f"{made} demo leads", *_connect_stand_in()]


def _connect_stand_in() -> list[str]:
    """Keep the demo leads in step with the local stand-in for Airtable, where it is offered."""
    if not airtable.stand_in_offered() or airtable.any_connection():
        return []
    columns = tuple(read_column(item) for item in local_stand_in().store.columns(LEADS_TABLE))
    base = BaseInfo(id=LEADS_BASE, name="Ventas (demo)")
    table = TableInfo(id=LEADS_TABLE, name="Leads", columns=columns)
    with transaction():
        row = settings.add_connection(name="Airtable (stand-in)", stand_in=True)
        settings.choose_table(row.id, base, table, plain_columns(table))
        settings.change_connection(row.id, {"poll_minutes": 2})
        settings.start(row.id)
    return ["a table in the local stand-in for Airtable"]


def _make(
    name: str,
    company: str,
    phone: str,
    stage: str,
    amount: int | None,
    currency: str,
    language: str,
    tags: tuple[str, ...],
    days: int,
    note: str,
) -> bool:
    values: dict[str, Any] = {
        "name": name,
        "company": company,
        "email": _address(name),
        "phone": phone,
        "source": "demo",
        "amount": amount,
        "currency": currency,
        "language": language,
        "tags": list(tags),
    }
    lead, created = create_lead(values, by=DEMO)
    if not created:
        return False
    if stage != "new":
        move_lead(lead.id, stage, by=DEMO)
    if note:
        add_note(lead.id, note, by=DEMO)
    _age(lead, days)
    return True


def _address(name: str) -> str:
    return fold(name).replace(" ", ".") + "@example.com"


def _age(lead: Lead, days: int) -> None:
    """Spread the leads over the last month; the only place where a time is not when it happened."""
    came = utcnow() - timedelta(days=days, hours=days % 7, minutes=7 * len(lead.name))
    lead.created_at = came
    lead.updated_at = lead.stage_changed_at = came + (utcnow() - came) / 3
    db.session.flush()
    for number, line in enumerate(
        db.session.scalars(select(LeadEvent).where(LeadEvent.lead_id == lead.id).order_by(LeadEvent.id))
    ):
        line.at = came + (utcnow() - came) * number / 6
