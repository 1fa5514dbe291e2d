"""Migrations leave the former release working: it runs beside them in every deployment, and after every rollback."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import text

from app.kit import db, migrate
from app.kit.cli import setup

FILES = sorted((migrate.HISTORY / "versions").rglob("*.py"))
WORDS = ("DROP ", "RENAME ", "SET NOT NULL", "TRUNCATE ")


def breaks(source: str) -> list[str]:
    """What an upgrade() takes from the former release, unless the file says that it finishes a change."""
    tree = ast.parse(source)
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FINISHES":
            assert isinstance(node.value, ast.Constant) and len(str(node.value.value)) > 20, (
                "say what, and since when"
            )
            return []
    (upgrade,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "upgrade"]
    calls = [node for node in ast.walk(upgrade) if isinstance(node, ast.Call)]
    return [found for call in calls if (found := _break(call))]


def _break(call: ast.Call) -> str:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    given = {word.arg: ast.unparse(word.value) for word in call.keywords}
    if name in ("drop_table", "drop_column", "rename_table"):
        return name
    if name == "alter_column" and (
        given.keys() & {"new_column_name", "type_"} or given.get("nullable") == "False"
    ):
        return name
    if name == "add_column":
        (column,) = [part for part in call.args if isinstance(part, ast.Call)]
        told = {word.arg: ast.unparse(word.value) for word in column.keywords}
        if told.get("nullable") == "False" and "server_default" not in told:
            return f"{name} without a value for those who do not know it"
    if name == "execute" and any(word in ast.unparse(call).upper() for word in WORDS):
        return name
    return ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_migration_takes_anything_from_the_former_release(path: Path) -> None:
    assert breaks(path.read_text()) == [], "docs/howto/change-a-table.md"


@pytest.mark.parametrize(
    ("line", "caught"),
    [
        ('op.drop_column("leads_lead", "phone")', 1),
        ('op.drop_table("leads_lead")', 1),
        ('op.rename_table("leads_lead", "leads_person")', 1),
        ('batch_op.alter_column("phone", new_column_name="number")', 1),
        ('batch_op.alter_column("phone", nullable=False)', 1),
        ('batch_op.alter_column("phone", type_=sa.Integer())', 1),
        ('batch_op.add_column(sa.Column("score", sa.Integer(), nullable=False))', 1),
        ('op.execute("ALTER TABLE leads_lead DROP COLUMN phone")', 1),
        ('batch_op.add_column(sa.Column("score", sa.Integer(), nullable=False, server_default="0"))', 0),
        ('batch_op.add_column(sa.Column("score", sa.Integer(), nullable=True))', 0),
        ('batch_op.alter_column("phone", nullable=True)', 0),
        ('batch_op.drop_index("ix_leads_lead_phone")', 0),
    ],
)
def test_a_breach_is_caught_unless_the_file_says_that_it_finishes(line: str, caught: int) -> None:
    body = (
        f"def upgrade() -> None:\n    {line}\n\ndef downgrade() -> None:\n    op.drop_table('leads_lead')\n"
    )
    assert len(breaks(body)) == caught
    assert breaks(f'FINISHES = "nothing has read it since 1.3"\n{body}') == []


def test_a_former_release_works_on_newer_databases_and_sets_nothing_back(app: Flask) -> None:
    tables = {bind: migrate.version_table(bind) for bind in migrate.binds()}
    for bind, table in tables.items():
        with db.engine_of(bind).begin() as connection:
            connection.execute(text(f"UPDATE {table} SET version_num = '{bind}_9999'"))  # noqa: S608
    with db.own_context():
        result = app.test_cli_runner().invoke(setup)
    assert result.exit_code == 0, result.output
    for bind, table in tables.items():
        with db.engine_of(bind).connect() as connection:
            assert connection.scalar(text(f"SELECT version_num FROM {table}")) == f"{bind}_9999"  # noqa: S608
    app.extensions.pop("embudo_ready", None)
    answer = app.test_client().get("/readyz")
    assert answer.status_code == 200, answer.text
