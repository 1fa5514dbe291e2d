"""The small parts: assets, cells, catalogues, log noise."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from flask import Flask
from flask_babel import Domain, force_locale, get_babel, get_domain, gettext

from app.admin import language
from app.admin.assets import BUILD, Manifest, asset, asset_built
from app.admin.cells import badge, shown
from app.admin.filters import parse_day, parse_number
from app.admin.headers import framed
from app.admin.home import age


@pytest.fixture
def build(tmp_path: Path, app: Flask, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An app whose front end was built into a folder of the test."""
    (tmp_path / ".vite").mkdir()
    monkeypatch.setitem(app.extensions, "embudo_manifest", Manifest(tmp_path))
    return tmp_path / ".vite" / "manifest.json"


def test_an_entry_brings_its_style_sheets_also_those_of_what_it_imports(app: Flask, build: Path) -> None:
    build.write_text(
        json.dumps(
            {
                "src/designer/index.tsx": {
                    "file": "assets/designer-1.js", "name": "designer", "isEntry": True,
                    "imports": ["_shared.js"], "css": ["assets/designer-1.css"],
                },
                "_shared.js": {"file": "assets/shared-2.js", "name": "shared", "css": ["assets/tokens-3.css"]},
            }
        )
    )  # fmt: skip
    with app.test_request_context():
        html = asset("designer")
    assert html.index("tokens-3.css") < html.index("designer-1.css") < html.index("designer-1.js")
    assert 'type="module"' in html and "nonce=" in html and "shared-2.js" not in html


def test_a_missing_build_says_what_to_run(app: Flask, build: Path) -> None:
    with app.test_request_context():
        assert not asset_built("designer")
        assert "make build" in asset("designer")


def test_files_with_a_hash_in_their_name_are_kept_for_ever(app: Flask) -> None:
    with app.test_client().get("/static/admin/icon.svg") as answer:
        assert answer.status_code == 200 and "immutable" not in answer.headers["Cache-Control"]
    built = list(BUILD.glob("assets/*.css"))
    if built:
        with app.test_client().get(f"/static/admin/build/assets/{built[0].name}") as answer:
            assert "immutable" in answer.headers["Cache-Control"]


def test_a_foreign_document_may_neither_run_nor_load_anything(app: Flask) -> None:
    with app.test_request_context():
        policy = framed("<script>alert(1)</script>").headers["Content-Security-Policy"]
    assert policy.startswith("sandbox;") and "default-src 'none'" in policy and "script-src" not in policy


def test_cells_never_show_none_and_always_escape(app: Flask) -> None:
    with app.test_request_context():
        assert "None" not in shown(None) and "None" not in badge(None)
        assert shown("<b>") == "&lt;b&gt;"
        assert "&lt;b&gt;" in badge("<b>") and "&lt;b&gt;" in shown(["<b>"])
        assert 'style="background:#ff0000"' in badge("x", {"x": ("X", "#ff0000")})
        assert "style" not in badge("x", {"x": ("X", '#"><b>')})


def test_values_from_the_address_are_understood_or_dropped() -> None:
    assert str(parse_day("2026-02-03")) == "2026-02-03" and parse_day("03/02/2026") is None
    assert str(parse_number("1,5")) == "1.5"
    assert [parse_number(text) for text in ("NaN", "Infinity", "1e99", "x", "")] == [None] * 5


def test_an_age_is_told_in_one_unit() -> None:
    assert [age(value) for value in (None, 45, 600, 7200, 900_000)] == [
        "0 s",
        "45 s",
        "10 min",
        "2 h",
        "10 d",
    ]


def test_catalogues_are_compiled_when_they_are_older_than_their_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "es" / "LC_MESSAGES" / "messages.po"
    source.parent.mkdir(parents=True)
    source.write_text(
        'msgid ""\nmsgstr "Content-Type: text/plain; charset=utf-8\\n"\n\nmsgid "Leads"\nmsgstr "Prospectos"\n'
    )
    monkeypatch.setattr(language, "TRANSLATIONS", tmp_path)
    assert language.compile_catalogues() == ["es"]
    assert language.compile_catalogues() == []
    assert [path.name for path in sorted(source.parent.iterdir())] == ["messages.mo", "messages.po"]


def test_an_app_that_starts_on_a_fresh_clone_speaks_spanish_at_once(
    app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "es" / "LC_MESSAGES" / "messages.po"
    source.parent.mkdir(parents=True)
    source.write_text(
        'msgid ""\nmsgstr "Content-Type: text/plain; charset=utf-8\\n"\n\nmsgid "Leads"\nmsgstr "Fichas"\n'
    )
    monkeypatch.setattr(language, "TRANSLATIONS", tmp_path)
    with app.app_context():
        monkeypatch.setattr(get_babel(app).instance, "domain_instance", Domain([str(tmp_path)]))
        get_domain().cache.clear()
        try:
            with force_locale("es"):
                assert gettext("Leads") == "Leads", "looked up before anything was compiled"
                language.init_language(app)
                assert gettext("Leads") == "Fichas"
        finally:
            get_domain().cache.clear()


def test_fabs_noise_is_not_logged(app: Flask) -> None:
    logger = logging.getLogger("flask_appbuilder.utils.base")
    kept = []
    for text in ("Invalid redirect detected, falling back to index", "something real"):
        record = logger.makeRecord(logger.name, logging.WARNING, __file__, 1, text, (), None)
        if logger.filter(record):
            kept.append(text)
    assert kept == ["something real"]
