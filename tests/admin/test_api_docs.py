"""The page of the REST interface: complete, in both languages, and without anything from elsewhere."""

from __future__ import annotations

import re

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.admin import compile_catalogues
from app.admin.api_docs import marked, words
from app.kit.rest import document


def test_a_stranger_reads_about_every_operation(app: Flask, client: FlaskClient) -> None:
    page = client.get("/docs/")
    assert page.status_code == 200
    for path, item in document(app)["paths"].items():
        for method, operation in item.items():
            assert f'id="{operation["operationId"]}"' in page.text, (method, path)
            assert f"<code>{path}</code>" in page.text
    assert "leads:write" in page.text
    assert "emb_…" in page.text
    assert "application/problem+json" in page.text


@pytest.mark.parametrize(("language", "heading"), [("es", "Interfaz REST"), ("en", "REST interface")])
def test_its_frame_speaks_the_reader_s_language(client: FlaskClient, language: str, heading: str) -> None:
    compile_catalogues()
    page = client.get("/docs/", headers={"Accept-Language": language}).text
    assert f'<html lang="{language}">' in page
    assert f"<h1>{heading}</h1>" in page


def test_it_loads_nothing_from_elsewhere_and_runs_only_what_has_the_nonce(client: FlaskClient) -> None:
    page = client.get("/docs/")
    loaded = re.findall(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="([^"]+)"', page.text)
    assert loaded
    assert [address for address in loaded if not address.startswith("/static/")] == []
    nonce = re.search(r"'nonce-([^']+)'", page.headers["Content-Security-Policy"])[1]  # type: ignore[index]
    for script in re.findall(r"<script[^>]*>", page.text):
        assert f'nonce="{nonce}"' in script or 'src="/static/' in script
    assert not re.search(r'\son\w+="', page.text)


def test_an_administrator_finds_it_from_the_keys(admin: FlaskClient) -> None:
    assert 'href="/docs/"' in admin.get("/admin/api-keys/").text


def test_descriptions_are_never_taken_for_html() -> None:
    assert str(marked("**a** `b` <script>")) == "<strong>a</strong> <code>b</code> &lt;script&gt;"


def test_schemas_become_a_few_words() -> None:
    assert (
        words({}, {"anyOf": [{"type": "string", "format": "uuid"}, {"type": "null"}]})
        == "string (uuid) or null"
    )
    assert (
        words({}, {"type": "array", "items": {"$ref": "#/components/schemas/LeadOut"}}) == "list of LeadOut"
    )
    assert words({}, {"$ref": "#/components/schemas/Page_LeadOut"}) == "page of LeadOut"
    assert words({}, {"enum": ["a", "b"]}) == "a | b"
    assert words({}, {"type": "integer", "minimum": 1, "maximum": 100}) == "integer (≥ 1, ≤ 100)"
