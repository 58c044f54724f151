"""The people of the example's CRM: invented, of fourteen countries, typed in by many hands.

Everything is drawn from one `random.Random`, by its `random()` alone, so that the same seed gives the same people on every Python.
Companies' domains end in `.example`, which nobody owns (RFC 2606).
"""

from __future__ import annotations

import functools
import math
import random
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

__all__ = ["COLUMNS", "Locale", "address", "bad_email", "locale_of", "people"]

COLUMNS = ("id", "name", "email", "phone", "street", "city", "postal_code", "country", "age", "plan", "lifetime_value")

# Shares of rows, measured on nobody: together the bad rows stay near 3 %, a third of the default error budget.
_NO_NAME = 0.009
_NO_EMAIL = 0.006
_BAD_EMAIL = 0.012
_BAD_AGE = 0.002
_TWICE = 0.015  # the same person entered again under another id
_RECENT = 512  # people of whom the next one may be a second entry

_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)  # told apart by identity: a hash of all these names would cost more than a row
class Locale:
    """How people of one country are called, live and are typed in.

    Args:
        share: Customers of this country, of `sum(share)`.
        country: Spellings, the usual one first.
        first: Given names; `健/Ken` gives the name as written and in Latin letters.
        last: Family names, likewise.
        cities: Cities.
        streets: Patterns with one number.
        postal: Pattern with two numbers of three digits.
        phones: Patterns of one and the same number, with a number of three and one of four digits.
        mail: Free mail providers besides the international ones.
        family_first: The family name is written first.
    """

    share: int
    country: tuple[str, ...]
    first: str
    last: str
    cities: tuple[str, ...]
    streets: tuple[str, ...]
    postal: str
    phones: tuple[str, ...]
    mail: tuple[str, ...] = ()
    family_first: bool = False


LOCALES = (
    Locale(
        26,
        ("United States", "US", "USA", "united states", "us", "U.S.A."),
        "James Mary Robert Patricia Michael Jennifer David Linda Emma Noah Olivia Liam Ava Ethan Zoë André",
        "Smith Johnson Williams Brown Jones Garcia Miller Davis Rodriguez McDonald Nguyen O'Brien Hernández Lee Walker Young",
        ("New York", "Chicago", "Houston", "Phoenix", "Seattle", "Boston", "Denver"),
        ("%d Main St", "%d Oak Avenue", "%d Washington Blvd"),
        "%05.5s",
        ("+1 (%03d) 555-%04d", "(%03d) 555-%04d", "%03d-555-%04d", "1-%03d-555-%04d", "%03d.555.%04d x12"),
        ("yahoo.com",),
    ),
    Locale(
        12,
        ("Germany", "DE", "Deutschland", "germany", "de", "GERMANY"),
        "Anna Lukas Marie Leon Sophie Jürgen Käthe Paul Lena Max Jörg Mia Felix Hannah Uwe Birgit",
        "Müller Schmidt Schneider Fischer Weber Meyer Wagner Becker Schäfer Koch Richter Groß Köhler Krause Vogel Lang",
        ("Berlin", "Hamburg", "München", "Köln", "Frankfurt am Main", "Leipzig"),
        ("Hauptstraße %d", "Lindenweg %d", "Bahnhofstr. %d"),
        "%05.5s",
        ("+49 %03d %04d00", "0%03d / %04d00", "0049-%03d-%04d00", "(0%03d) %04d00", "+49 (0)%03d %04d00"),
        ("gmx.de", "web.de"),
    ),
    Locale(
        11,
        ("United Kingdom", "GB", "UK", "united kingdom", "gb", "Great Britain"),
        "Oliver Amelia George Isla Harry Ava Jack Emily Charlie Sophie Alfie Grace Siân Freya Rhys Poppy",
        "Smith Jones Taylor Brown Williams Wilson Johnson Davies Patel Wright O'Connor Walker White Hughes Green Hall",
        ("London", "Manchester", "Leeds", "Bristol", "Glasgow", "Cardiff"),
        ("%d High Street", "%d Church Lane", "%d Victoria Road"),
        "SW%.1s %.1sAB",
        ("+44 7%03d 55%04d", "07%03d 55%04d", "0044 7%03d 55%04d", "(07%03d) 55-%04d"),
    ),
    Locale(
        9,
        ("France", "FR", "france", "fr", "FRANCE"),
        "Camille Léa Lucas Chloé Hugo Manon Théo Inès Jules Zoé François Éléonore Louis Jade Raphaël Anaïs",
        "Martin Bernard Dubois Thomas Robert Richard Petit Durand Leroy Moreau Lefèvre Garnier Roux Guérin Chevalier Noël",
        ("Paris", "Lyon", "Marseille", "Toulouse", "Nantes", "Saint-Étienne"),
        ("%d rue de la Paix", "%d avenue Victor-Hugo", "%d bis, place du Marché"),
        "%05.5s",
        ("+33 6 %03d %04d0", "06 %03d %04d0", "0033 6%03d%04d0", "+33 (0)6.%03d.%04d0"),
        ("orange.fr",),
    ),
    Locale(
        7,
        ("Spain", "ES", "España", "spain", "es"),
        "María José Antonio Carmen Manuel Lucía Javier Sofía Iñaki Begoña Álvaro Paula Martín Nuria Íñigo Elena",
        "García Fernández González Rodríguez López Martínez Sánchez Pérez Gómez Muñoz Ibáñez Núñez Ortega Castro Peña Vidal",
        ("Madrid", "Barcelona", "Valencia", "Sevilla", "Málaga", "A Coruña"),
        ("Calle Mayor, %d", "Avenida de América, %d", "Plaza España %d"),
        "%05.5s",
        ("+34 6%03d%04d1", "6%03d %04d1", "0034 6%03d %04d1"),
    ),
    Locale(
        6,
        ("Italy", "IT", "Italia", "italy", "it"),
        "Giulia Francesco Sofia Alessandro Aurora Lorenzo Niccolò Chiara Matteo Elisa Marco Noemi Luca Alice Andrea Sara",
        "Rossi Russo Ferrari Esposito Bianchi Romano Colombo Ricci Marino Greco Bruno Gallo Conti De Luca D'Angelo Nicolò",
        ("Roma", "Milano", "Napoli", "Torino", "Forlì"),
        ("Via Roma, %d", "Corso Italia %d", "Piazza Garibaldi, %d"),
        "%05.5s",
        ("+39 3%03d %04d22", "3%03d%04d22", "0039 3%03d-%04d22"),
        ("libero.it",),
    ),
    Locale(
        5,
        ("Netherlands", "NL", "Nederland", "netherlands", "nl", "Holland"),
        "Emma Daan Julia Sem Mila Lucas Tess Levi Sophie Finn Zoë Bram Anouk Joris Renée Thijs",
        "Jansen Vries Bakker Visser Smit Meijer Mulder Bos Vos Peters Hendriks Dekker Brouwer Dijkstra Kok Koopman",
        ("Amsterdam", "Rotterdam", "Utrecht", "'s-Hertogenbosch"),
        ("Kerkstraat %d", "Prinsengracht %d", "Dorpsstraat %d"),
        "1%.3s AB",
        ("+31 6 %03d%04d3", "06-%03d%04d3", "0031 6%03d%04d3", "+31 (0)6 %03d %04d3"),
    ),
    Locale(
        4,
        ("Sweden", "SE", "Sverige", "sweden", "se"),
        "Alice Erik Elsa Lars Åsa Björn Maja Göran Saga Nils Ebba Håkan Linnéa Oskar Märta Axel",
        "Andersson Johansson Karlsson Nilsson Eriksson Lindström Ångström Öberg Sjöberg Berg Lund Holm Nyström Åkesson Ek Dahl",
        ("Stockholm", "Göteborg", "Malmö", "Örebro"),
        ("Storgatan %d", "Kyrkogatan %d", "Skolvägen %d"),
        "1%.2s 4%.1s",
        ("+46 70 %03d%04d", "070-%03d %04d", "0046 70%03d%04d"),
    ),
    Locale(
        4,
        ("Poland", "PL", "Polska", "poland", "pl"),
        "Zofia Jakub Julia Łukasz Agnieszka Piotr Małgorzata Michał Hanna Paweł Świętosława Tomasz Ewa Żaneta Adam Ola",
        "Nowak Kowalski Wiśniewska Wójcik Kamiński Lewandowska Zieliński Dąbrowski Łuczak Gołąb Pająk Mazur Król Wróbel Zając Sikora",
        ("Warszawa", "Kraków", "Łódź", "Gdańsk", "Wrocław"),
        ("ul. Polna %d", "ul. Kościuszki %d", "al. Jerozolimskie %d"),
        "0%.1s-%.3s",
        ("+48 5%03d %04d1", "5%03d-%04d1", "0048 5%03d%04d1"),
        ("wp.pl",),
    ),
    Locale(
        5,
        ("Brazil", "BR", "Brasil", "brazil", "br"),
        "João Maria Pedro Ana Luís Conceição Gabriel Júlia Antônio Beatriz Simão Letícia Caio Inês Davi Fátima",
        "Silva Santos Oliveira Souza Pereira Lima Carvalho Gonçalves Araújo Assunção Ribeiro Rocha Falcão Melo Nóbrega Dias",
        ("São Paulo", "Rio de Janeiro", "Brasília", "Florianópolis"),
        ("Rua das Flores, %d", "Avenida Paulista, %d", "Praça da Sé %d"),
        "01%.3s-000",
        ("+55 11 9%03d-%04d0", "(11) 9%03d-%04d0", "0055 11 9%03d %04d0", "011 9%03d%04d0"),
    ),
    Locale(
        5,
        ("India", "IN", "india", "in", "INDIA"),
        "Aarav Priya Rohan Ananya Vikram Kavya Arjun Meera Sanjay Divya Rahul Pooja Amit Neha Kiran Lakshmi",
        "Sharma Patel Singh Kumar Gupta Reddy Iyer Nair Das Mehta Rao Joshi Chopra Verma Bose Menon",
        ("Mumbai", "Delhi", "Bengaluru", "Chennai", "Pune"),
        ("%d MG Road", "Flat %d, Lake View", "%d Gandhi Nagar"),
        "%06.6s",
        ("+91 98%03d %04d5", "098%03d%04d5", "0091-98%03d-%04d5", "98%03d%04d5"),
    ),
    Locale(
        3,
        ("Japan", "JP", "日本", "japan", "jp"),
        "健/Ken 陽菜/Hina 翔太/Shota 結衣/Yui 大輔/Daisuke 美咲/Misaki 蓮/Ren さくら/Sakura 拓海/Takumi 葵/Aoi 直樹/Naoki 愛/Ai",
        "佐藤/Sato 鈴木/Suzuki 高橋/Takahashi 田中/Tanaka 伊藤/Ito 渡辺/Watanabe 山本/Yamamoto 中村/Nakamura 小林/Kobayashi 加藤/Kato",
        ("東京", "大阪", "横浜", "Kyoto"),
        ("丸の内%d丁目", "銀座 %d", "Aoyama %d"),
        "%.3s-%04.4s",
        ("+81 90-%03d1-%04d", "090-%03d1-%04d", "0081 90 %03d1 %04d"),
        family_first=True,
    ),
    Locale(
        3,
        ("Australia", "AU", "australia", "au", "AUS"),
        "Charlotte Jack Isla William Mia Noah Ruby Cooper Matilda Lachlan Chloe Angus Evie Hamish Zara Bruce",
        "Smith Nguyen Jones Williams Brown Wilson Taylor Kelly Ryan Singh O'Neill Clarke Murphy McKenzie Campbell Ward",
        ("Sydney", "Melbourne", "Brisbane", "Perth"),
        ("%d George St", "Unit %d, Beach Road", "%d Collins Street"),
        "2%.3s",
        ("+61 4%03d %04d7", "04%03d %04d7", "0061 4%03d%04d7"),
    ),
    Locale(
        4,
        ("Canada", "CA", "canada", "ca", "CANADA"),
        "Liam Olivia Noah Emma Benoît Chloé William Zoé Logan Maëlle Étienne Alice Thomas Rosalie Félix Maude",
        "Tremblay Roy Gagnon Smith Côté Bouchard Wong MacLeod Martin Brown Bélanger Lévesque Singh Campbell Chan Fortin",
        ("Toronto", "Montréal", "Vancouver", "Québec"),
        ("%d Yonge St", "%d, rue Saint-Denis", "%d Granville Street"),
        "M%.1sV %.1sB1",
        ("+1 %03d 555 %04d", "(%03d) 555-%04d", "1 %03d 555 %04d"),
    ),
)

_INTERNATIONAL = ("gmail.com", "gmail.com", "gmail.com", "outlook.com", "hotmail.com", "icloud.com", "proton.me", "yahoo.com")
_TRADES = (
    "nord",
    "blue",
    "acme",
    "alpine",
    "delta",
    "green",
    "harbor",
    "iron",
    "lumen",
    "maple",
    "nova",
    "orbit",
    "pixel",
    "quartz",
    "river",
)
_KINDS = ("works", "foods", "labs", "trade", "media", "steel", "care", "motors", "studio", "supply")
_PLANS = ("free", "free", "free", "basic", "basic", "pro", "pro", "enterprise", "Free", "PRO", "Basic ", "Enterprise")
_NO_NAMES = (None, "", "   ", "N/A", "-")
_NO_EMAILS = (None, "", "n/a", "none")
_NO_PHONES = (None, None, None, None, "", "n/a", "call the office")
_LATIN = str.maketrans({"ß": "ss", "ł": "l", "Ł": "l", "ø": "o", "'": "", " ": ""})


@functools.cache
def _names(locale: Locale) -> tuple[tuple[str, str], ...]:
    """Every full name of a locale, with the local part of an e-mail made of it."""
    found = []
    for first in locale.first.split():
        for last in locale.last.split():
            given, family = first.partition("/"), last.partition("/")
            name = f"{family[0]} {given[0]}" if locale.family_first else f"{given[0]} {family[0]}"
            found.append((name, f"{_latin(given[2] or first)}.{_latin(family[2] or last)}"))
    return tuple(found)


def _latin(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.translate(_LATIN)).encode("ascii", "ignore")
    return plain.decode().lower()


@functools.cache
def _wheel() -> tuple[Locale, ...]:
    return tuple(locale for locale in LOCALES for _ in range(locale.share))


def locale_of(country: str | None) -> Locale:
    """The locale that writes its country so; the first when none does."""
    return next((locale for locale in LOCALES if country in locale.country), LOCALES[0])


def address(locale: Locale, draw: random.Random) -> tuple[str, str, str]:
    """Street, city and postal code, from one draw."""
    return _address(locale, draw.random())


def _address(locale: Locale, u: float) -> tuple[str, str, str]:
    number = int(u * 9_000_000) + 1_000_000
    digits = f"{number}"
    street = locale.streets[number % len(locale.streets)] % (number % 180 + 1)
    postal = locale.postal % ((digits[1:],) if locale.postal.count("%") == 1 else (digits[1:], digits[3:]))
    return street, locale.cities[number // 7 % len(locale.cities)], postal


def bad_email(email: str, u: float) -> str:
    """An e-mail as a careless hand leaves it, so that it is none; `u` in [0, 1) chooses how."""
    local, _, domain = email.partition("@")
    ways = (
        f"{local}.{domain}",
        f"{local}@",
        f"{local} at {domain}",
        f"{local}@@{domain}",
        f"{local}@{domain.partition('.')[0]}",
        f"@{domain}",
    )
    return _pick(ways, u)


class _Person(NamedTuple):
    locale: Locale
    name: str
    email: str
    number: tuple[int, int]
    place: tuple[str, str, str]
    age: int


def people(draw: random.Random, ids: range, faults: bool = True) -> Iterator[tuple[Any, ...]]:
    """Yield one row an id, in the order of `COLUMNS`; some 6 us each.

    Args:
        draw: Where chance comes from; some 15 draws a row.
        ids: Ids of the rows; they also keep e-mails apart.
        faults: Names and e-mails are missing or broken in some 3 % of the rows. Spelling is careless either way.
    """
    u = draw.random
    recent: list[_Person] = []
    for id_ in ids:
        if recent and u() < _TWICE:
            person = recent[int(u() * len(recent))]
        else:
            person = _new(id_, u)
            if len(recent) < _RECENT:
                recent.append(person)
            else:
                recent[id_ % _RECENT] = person
        yield _typed(id_, person, u, faults)


def _new(id_: int, u: Callable[[], float]) -> _Person:
    locale = _pick(_wheel(), u())
    name, local = _pick(_names(locale), u())
    kind = u()
    if kind < 0.6:
        email = f"{local}{id_}@{_pick(_INTERNATIONAL + locale.mail * 3, kind / 0.6)}"
    else:
        email = f"{local}{id_ % 97}@{_pick(_TRADES, u())}{_pick(_KINDS, u())}{id_ // 97}.example"
    digits = u()
    number = (200 + int(digits * 800), int(digits * 8_000_000) % 10_000)
    return _Person(locale, name, email, number, _address(locale, u()), 18 + int(u() * u() * 75))


def _typed(id_: int, person: _Person, u: Callable[[], float], faults: bool) -> tuple[Any, ...]:
    """The row that a hand makes of a person."""
    name: str | None = person.name
    care = u()
    if faults and care < _NO_NAME:
        name = _pick(_NO_NAMES, care / _NO_NAME)
    elif care > 0.8:
        name = _careless(person.name, (care - 0.8) * 5)
    email: str | None = person.email
    care = u()
    if care > 0.88:
        email = _careless_email(person.email, (care - 0.88) / 0.12)
    elif faults and care < _NO_EMAIL:
        email = _pick(_NO_EMAILS, care / _NO_EMAIL)
    elif faults and care < _NO_EMAIL + _BAD_EMAIL:
        email = bad_email(person.email, (care - _NO_EMAIL) / _BAD_EMAIL)
    care = u()
    phone = _pick(_NO_PHONES, care / 0.06) if care < 0.06 else _pick(person.locale.phones, u()) % person.number
    care = u()
    country = None if care > 0.995 else _pick(person.locale.country, care * care)
    care = u()
    age = None if care < 0.08 else person.age
    if faults and care > 1 - _BAD_AGE:
        age = _pick((0, -1, 199), (care - 1 + _BAD_AGE) / _BAD_AGE)
    spent = round(math.exp(u() * 9) - 1, 2)
    return (id_, name, email, phone, *person.place, country, age, _pick(_PLANS, u()), spent)


def _careless(name: str, u: float) -> str:
    if u < 0.3:
        return name.upper()
    if u < 0.6:
        return name.lower()
    return f"  {name}" if u < 0.75 else f"{name} " if u < 0.9 else name.replace(" ", "  " if u < 0.97 else "\u00a0")


def _careless_email(email: str, u: float) -> str:
    return email.upper() if u < 0.4 else email.title() if u < 0.7 else f" {email} " if u < 0.97 else f"mailto:{email}"


def _pick(values: Sequence[_T], u: float) -> _T:
    count = len(values)
    return values[int(u * count) % count]  # %: a quotient may round up to 1
