"""Imported first, lets ``app.kit.…`` be imported without what ``app/__init__`` wires: seconds for each process."""

import sys
from pathlib import Path
from types import ModuleType

_package = ModuleType("app")
_package.__path__ = [str(Path(__file__).resolve().parents[2] / "app")]
sys.modules["app"] = _package
