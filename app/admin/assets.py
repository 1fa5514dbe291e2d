"""Tags for what the front end's build made, under the hashed names of its manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flask import Flask, current_app, url_for
from flask_babel import gettext
from markupsafe import Markup

from app.admin.headers import csp_nonce
from app.kit import telemetry

BUILD = Path(__file__).parent / "static" / "build"

log = telemetry.get_logger("admin")


class Manifest:
    """Vite's manifest, read once, and again when a build has replaced it in development."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / ".vite" / "manifest.json"
        self._stamp = 0.0
        self._chunks: dict[str, Any] = {}

    def chunks(self) -> dict[str, Any]:
        """The manifest; empty when there is no build."""
        try:
            stamp = self.path.stat().st_mtime
            if stamp != self._stamp:
                self._chunks = json.loads(self.path.read_text("utf-8"))
                self._stamp = stamp
        except (OSError, ValueError):
            self._chunks, self._stamp = {}, 0.0
        return self._chunks

    def files(self, entry: str) -> tuple[list[str], list[str]] | None:
        """Style sheets and scripts of an entry, the script last; None when the build does not have it."""
        chunks = self.chunks()
        key = next(
            (key for key, chunk in chunks.items() if chunk.get("isEntry") and chunk.get("name") == entry),
            None,
        )
        if key is None:
            return None
        styles: list[str] = []
        seen: set[str] = set()

        def walk(key: str) -> None:
            if key in seen or key not in chunks:
                return
            seen.add(key)
            for other in chunks[key].get("imports", []):
                walk(other)
            styles.extend(name for name in chunks[key].get("css", []) if name not in styles)

        walk(key)
        return styles, [chunks[key]["file"]]


def asset(entry: str) -> Markup:
    """The <link> and <script> tags of an entry of frontend/; a visible sentence when it was not built."""
    manifest: Manifest = current_app.extensions["embudo_manifest"]
    files = manifest.files(entry)
    if files is None:
        log.error("front end not built", entry=entry)
        message = gettext("The browser part “%(name)s” is not built. Run: make build", name=entry)
        return Markup('<p class="alert alert-danger" role="alert">{}</p>').format(message)
    styles, scripts = files
    tags = [Markup('<link rel="stylesheet" href="{}">').format(_url(name)) for name in styles]
    tags += [
        Markup('<script type="module" src="{}" nonce="{}"></script>').format(_url(name), csp_nonce())
        for name in scripts
    ]
    return Markup("\n").join(tags)


def asset_built(entry: str) -> bool:
    """Whether the build has this entry."""
    manifest: Manifest = current_app.extensions["embudo_manifest"]
    return manifest.files(entry) is not None


def _url(name: str) -> str:
    return url_for("admin.static", filename=f"build/{name}")


def init_assets(app: Flask) -> None:
    """Give templates the functions asset() and asset_built()."""
    app.extensions["embudo_manifest"] = Manifest(BUILD)
    app.jinja_env.globals.update(asset=asset, asset_built=asset_built)
