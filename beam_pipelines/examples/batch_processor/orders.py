"""The files of the batch example: a CSV file of invented orders for each day, written by careless hands."""

from __future__ import annotations

import random
from datetime import date, timedelta
from pathlib import Path

from beam_pipelines.examples.placing import settle, temporary

__all__ = ["BAD_DAY", "BAD_ROWS", "FIRST_DAY", "ORDERS", "create", "day_of", "name_of"]

FIRST_DAY = date(2026, 3, 2)
ORDERS = 13_000  # a day
BAD_DAY = 5  # of the days, from 0, the one whose file has rows that are none
COLUMNS = ("order_id", "ordered_at", "email", "country", "product", "quantity", "unit_price", "status")
BAD_ROWS = (
    "A-BAD-1,07/03/2026 10:00,ann@example.com,DE,desk lamp,1,EUR 1,299.00,shipped",  # a comma that nobody quoted: a field too many
    "A-BAD-2,07/03/2026 10:01,bob@example.com,FR,desk lamp",  # cut off
    "A-BAD-3,soon,cat@example.com,IT,desk lamp,1,12.50,shipped",
    "A-BAD-4,07/03/2026 10:03,dan@example.com,ES,desk lamp,two,12.50,shipped",
    "A-BAD-5,07/03/2026 10:04,eve@example.com,NL,desk lamp,1,on request,shipped",
)
_NAME = "orders-{:%Y-%m-%d}.csv"
_PEOPLE = ("ann", "bob", "carla", "dmitri", "elif", "farid", "greta", "hans", "jiro", "lena", "nora", "oscar", "priya", "vera", "xenia")
_HOSTS = ("example.com", "example.org", "mail.example", "Example.COM", "example.net ")
_COUNTRIES = ("DE", "de", "FR", "fr ", "IT", " ES", "NL", "nl", "PL", "SE")
_PRODUCTS = ("desk lamp", "Desk  Lamp", "office chair", "OFFICE CHAIR ", "notebook", "Notebook", "monitor", " Monitor", "webcam", "headset")
_QUANTITIES = ("1", "1", "1 ", "2", "2 pcs", "3", "5 pcs.", " 10")
_STATUSES = ("Shipped", "shipped", "SHP", " sent", "pending", "Pend.", "open", "cancelled", "Canceled", "returned", "RTN", "test")


def create(path: Path, day: int, orders: int = ORDERS, seed: int = 13) -> None:
    """Make the file of a day: some 50 ms for 13,000 orders. A death half-way leaves nothing at `path`.

    Args:
        path: The file to be.
        day: Days since `FIRST_DAY`; that of `BAD_DAY` has rows that are none as well.
        orders: Rows.
        seed: The same seed gives the same rows.

    Raises:
        FileExistsError: There is a file at `path`; it stays as it is.
        OSError: The folder cannot be written.
    """
    draw = random.Random(seed * 10_007 + day)
    when = FIRST_DAY + timedelta(days=day)
    lines = [",".join(COLUMNS), *_lines(draw, when, day, orders)]
    if day == BAD_DAY:
        for place, line in enumerate(BAD_ROWS, 1):
            lines.insert(place * orders // (len(BAD_ROWS) + 1) + 1, line)
    with temporary(path) as building:
        building.write_text("\n".join([*lines, ""]), encoding="utf-8", newline="\n")
        settle(building, path)


def _lines(draw: random.Random, when: date, day: int, orders: int) -> list[str]:
    """The rows: each is made of eight bytes of chance, which are drawn at once."""
    chance = draw.randbytes(8 * orders)
    prices = [_price(number) for number in range(256)]
    written = f"{when:%d/%m/%Y}"
    people = [f"{name}.{host}".replace(".", "@", 1) for name in _PEOPLE for host in _HOSTS]
    return [
        f"A-{day:03d}-{number:06d},{written} {a % 24:02d}:{b % 60:02d},{people[c % len(people)]},{_COUNTRIES[d % 10]},{_PRODUCTS[e % 10]},"
        f"{_QUANTITIES[f % 8]},{prices[g]},{_STATUSES[h % 12]}"
        for number, (a, b, c, d, e, f, g, h) in enumerate(zip(*[iter(chance)] * 8, strict=True), 1)
    ]


def _price(number: int) -> str:
    """A price as it may be written."""
    amount = (number * 733 + 499) / 100
    if number % 5 == 0:
        return f"EUR {amount:.2f}"
    return f'"{amount:,.2f}"' if amount >= 1000 else f"{amount:.2f}"


def name_of(day: int) -> str:
    """The name of the file of a day."""
    return _NAME.format(FIRST_DAY + timedelta(days=day))


def day_of(name: str) -> int | None:
    """The day that a file is of; None: it is no file of ours."""
    try:
        return (date.fromisoformat(name.removeprefix("orders-").removesuffix(".csv")) - FIRST_DAY).days
    except ValueError:
        return None
