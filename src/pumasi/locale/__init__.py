"""The two languages of Pumasi, Korean and English.

Texts in the code are English and are their own message ids; log events have ids of their own (`worker.started`) whose
English text stands in the `en` catalogue. Texts are translated when they are shown, not when they are made: an error
that crosses the wire is read in the reader's language.

Which language: `PUMASI_LANG`, else a Korean or English locale, else Korean for the bare locales (C, POSIX, C.UTF-8,
none) and English for any other.
"""

import gettext as _gettext
import os
from functools import cache
from pathlib import Path
from typing import Any

LANGUAGES = ("ko", "en")
_DOMAIN = "pumasi"
_FOLDER = Path(__file__).parent
_BARE = {"", "C", "POSIX"}

_chosen: str | None = None


def language() -> str:
    """The language texts are shown in: `ko` or `en`."""
    return _chosen or _from_environment()


def set_language(name: str | None) -> None:
    """Choose the language of this process; `None` goes back to what the environment says."""
    global _chosen
    _chosen = name if name in LANGUAGES else None


def gettext(text: str, *, lang: str | None = None) -> str:
    """The text of a message id in the language chosen (or in `lang`)."""
    return _catalogue(lang or language()).gettext(text) if text else text


def render(text: str, details: dict[str, Any], *, lang: str | None = None) -> str:
    """A message with its details filled in; a text whose details do not fit is shown as it stands."""
    translated = gettext(text, lang=lang)
    try:
        return translated.format_map(details)
    except (KeyError, IndexError, ValueError, AttributeError):
        return translated


def _from_environment() -> str:
    for name in ("PUMASI_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(name, "")
        code = value.split(".")[0].split("_")[0].lower()
        if code in LANGUAGES:
            return code
        if name != "PUMASI_LANG" and value:
            return "ko" if value.split(".")[0].upper() in _BARE else "en"
    return "ko"


@cache
def _catalogue(lang: str) -> _gettext.NullTranslations:
    return _gettext.translation(_DOMAIN, _FOLDER, languages=[lang], fallback=True)
