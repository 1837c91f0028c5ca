"""What the demo prints: invoices, the steps behind a line, event logs, and where to look on."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from rich.console import Console
from rich.table import Table

from billing.money import exponent
from settings import Settings


def money(minor: int, currency: str) -> str:
    """Write minor units in major units: 14900, usd -> 149.00 USD."""
    digits = exponent(currency)
    return f"{Decimal(minor).scaleb(-digits):,.{digits}f} {currency.upper()}"


def lines_table(invoice: Mapping[str, Any]) -> Table:
    """Show the lines of an invoice and its total."""
    table = Table(title=f"Invoice {invoice['invoice_number']} of {invoice['customer_id']}", title_justify="left")
    table.add_column("line")
    table.add_column("quantity", justify="right")
    table.add_column("minor units", justify="right")
    for line in invoice["line_items"]:
        table.add_row(line["description"], f"{Decimal(str(line['quantity'])):,}", f"{line['amount']:,}")
    table.add_section()
    table.add_row("total", "", f"{invoice['total_amount']:,}")
    return table


def steps_table(line: Mapping[str, Any]) -> Table:
    """Show how the amount of a line came about: tier by tier, in major units."""
    table = Table(title=f"Why {line['amount']:,} minor units?", title_justify="left")
    for name in ("step", "units", "unit price", "amount"):
        table.add_column(name, justify="left" if name == "step" else "right")
    for step in line["steps"]:
        cells = (f"{Decimal(str(step[name])):,f}" for name in ("units", "unit_price", "amount"))
        table.add_row(step["description"], *cells)
    return table


def events_table(title: str, events: Sequence[Mapping[str, Any]]) -> Table:
    """Show an event log, oldest first."""
    table = Table("when", "what", "detail", title=title, title_justify="left")
    for event in events:
        detail = event["data"].get("failure_code") or event["data"].get("code") or ""
        table.add_row(event["created_at"], event["title"] or event["type"], str(detail))
    return table


def trigger_table(alert: Mapping[str, Any], triggers: Sequence[Mapping[str, Any]]) -> Table:
    """Show when an alert fired, and what it saw."""
    table = Table("when", "usage", "alert at", title=f"Alert {alert['name']!r} fired", title_justify="left")
    for trigger in triggers:
        numbers = (f"{Decimal(trigger[name]):,f}" for name in ("current_usage", "threshold_value"))
        table.add_row(trigger["triggered_at"], *numbers)
    return table


def year_table(rows: Sequence[tuple[str, Sequence[Mapping[str, Any]]]]) -> Table:
    """Show a year of invoices: one row for each month, one column for each customer; retried ones are marked."""
    table = Table("month", title="A year on a test clock", title_justify="left")
    totals = []
    for name, invoices in rows:
        table.add_column(name, justify="right")
        totals.append(sum(invoice["total_amount"] for invoice in invoices))
    for month, of_month in enumerate(zip(*(invoices for _, invoices in rows), strict=True), start=1):
        table.add_row(f"2026-{month:02}", *(_cell(invoice) for invoice in of_month))
    table.add_section()
    table.add_row("total", *(money(total, "usd") for total in totals))
    return table


def _cell(invoice: Mapping[str, Any]) -> str:
    attempts = invoice["attempt_count"]
    mark = f" ({attempts} attempts)" if attempts > 1 else ""
    return f"{money(invoice['total_amount'], invoice['currency'])} {invoice['status']}{mark}"


def links(config: Settings, url: str, subscriptions: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return where to look on: the API's documentation, the dashboard, and each workflow in the Temporal UI."""
    places = {
        "API reference": f"{url}/docs",
        "Dashboard": f"{url}/ui  (log in with the key in {config.home / 'demo_key'})",
    }
    for name, subscription in subscriptions.items():
        places[f"Temporal UI, {name}"] = workflow_url(config, subscription["workflow_id"])
    return [f"{what:<24} {where}" for what, where in places.items()]


def workflow_url(config: Settings, workflow_id: str) -> str:
    """Return the Temporal UI's list filtered by one workflow."""
    base = (config.temporal_ui_url or f"http://127.0.0.1:{config.temporal_ui_port}").rstrip("/")
    query = quote(f'WorkflowId="{workflow_id}"', safe="")
    return f"{base}/namespaces/{config.temporal_namespace}/workflows?query={query}"


def wide(console: Console) -> Console:
    """Return the console, or one that is wide enough for the tables when the output is no terminal."""
    return console if console.is_terminal else Console(width=150, highlight=False)
