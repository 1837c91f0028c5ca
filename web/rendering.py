"""How pages are made: templates that escape everything, and headers that let a page load nothing from elsewhere."""

import base64
import hashlib
from pathlib import Path
from typing import Any, Final

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, select_autoescape

_HERE: Final = Path(__file__).resolve().parent
TEMPLATES: Final = Environment(loader=FileSystemLoader(_HERE / "templates"), autoescape=select_autoescape(default=True))
STYLE: Final = (_HERE / "static" / "style.css").read_text()


def page(name: str, status: int = 200, *, own_style: str = "", **values: Any) -> HTMLResponse:
    """Render a template; ``own_style`` is the one inline style sheet that the page may carry."""
    text = TEMPLATES.get_template(name).render(own_style=own_style, **values)
    return HTMLResponse(text, status_code=status, headers=_headers(own_style))


def _headers(own_style: str) -> dict[str, str]:
    styles = "'self'"
    if own_style:
        styles += f" 'sha256-{base64.b64encode(hashlib.sha256(own_style.encode()).digest()).decode()}'"
    return {
        "Content-Security-Policy": f"default-src 'none'; style-src {styles}; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
