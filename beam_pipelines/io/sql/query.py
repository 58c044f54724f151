"""A user's query, read just far enough to bound it: one SELECT, where its `?` stands, which output column that is, which table it reads.

The text stays the user's own: the comparison with `?` is cut out by position and the window's predicate goes in its place.
CTEs, joins and subqueries keep their meaning, and nothing depends on how a parser would write the statement anew.

The commonest form, `SELECT columns FROM table WHERE column > ?`, is read by a regular expression: importing sqlglot takes 0.1 s,
which a small increment would notice. Both ways give the same (a test compares them).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from beam_pipelines.errors import PlanError
from beam_pipelines.io.sql.literal import fold, quote

if TYPE_CHECKING:
    from sqlglot import exp

__all__ = ["UNDERSTOOD", "Query", "cut_error", "normalise", "parse_query"]

UNDERSTOOD = 'one comparison such as "WHERE updated_at > ?" (>, >=, or turned round), on a plain column, joined to other conditions by AND'

_I = r'(?:[A-Za-z_]\w*|"[^"]+")'
_SIMPLE = (  # patterns are compiled where they are used: most sources have a table and no query
    rf"\s*(?P<head>SELECT\s+(?P<columns>\*|{_I}(?:\s*,\s*{_I})*)\s+FROM\s+(?P<table>{_I}(?:\.{_I})?))"
    rf"(?P<where>\s+WHERE\s+)?(?(where)(?P<cursor>{_I})\s*>=?\s*\?)(?:\s+ORDER\s+BY\s+{_I}(?:\s*,\s*{_I})*)?\s*;?\s*"
)
# Words that stand where a column or table may, but are something else: the parser decides.
_WORDS = r"(?i)\b(ALL|ANY|CASE|DISTINCT|EXISTS|FALSE|FROM|LATERAL|NOT|NULL|ONLY|SELECT|SOME|TOP|TRUE|UNNEST|VALUES|WHERE|WITH)\b"
_QUOTES_ARE_STRINGS = frozenset({"mysql", "mariadb", "bigquery", "databricks", "spark", "hive"})  # "x" is no identifier there
_SQLGLOT = {"postgresql": "postgres", "mssql": "tsql", "mariadb": "mysql", "cockroachdb": "postgres"}


@dataclass(frozen=True)
class Query:
    """A query that can be bounded.

    Args:
        head: Text up to the comparison with `?`; all of it when there is none.
        tail: Text after it.
        column_sql: The compared column as the query writes it, such as `c.updated_at`; None without `?`.
        cursor: The output column that carries its value; None without `?`.
        base: The one table whose rows the query gives, each at most once, in the dialect's quoting; None when it may do more.
        outputs: Output name of each column of `base` that is given unchanged; None: all of them, under their own names.
        cuts: The outermost SELECT gives only some of its rows (LIMIT, OFFSET, FETCH).
    """

    head: str
    tail: str = ""
    column_sql: str | None = None
    cursor: str | None = None
    base: str | None = None
    outputs: tuple[tuple[str, str], ...] | None = None
    cuts: bool = False

    def render(self, predicate: str = "") -> str:
        """The query's text with the window's predicate in place of the comparison."""
        return self.head + predicate + self.tail


def parse_query(text: str, dialect: str, incremental: bool) -> Query:
    """Read a query.

    Args:
        text: As the definition has it.
        dialect: `postgresql`, `sqlite`, `duckdb`, or a SQLAlchemy dialect's name.
        incremental: Whether `?` is allowed.

    Raises:
        PlanError: It is not one SELECT, writes, has a `?` that is not understood, or a LIMIT beside it.
    """
    return _parse_simple(text, dialect, incremental) or _parse_any(text, dialect, incremental)


def normalise(text: str) -> str:
    """Return the query without comments and formatting, words outside quotes in lower case: what a fingerprint compares.

    >>> normalise("SELECT *  FROM Customers -- all")
    'select * from customers'
    """
    return " ".join(word if word[0] in "'\"`[$eE" and not word.isidentifier() else word.lower() for word in _words(text))


_TOKEN = (
    r"""(?P<skip>\s+|--[^\n]*|/\*.*?\*/)|(?P<word>[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`"""
    r"""|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$|\w+|[<>=!]+|::|.)"""
)


def _words(text: str) -> list[str]:
    words = [found["word"] for found in re.finditer(_TOKEN, text, re.DOTALL) if found["word"]]
    return words[:-1] if words[-1:] == [";"] else words


def _parse_simple(text: str, dialect: str, incremental: bool) -> Query | None:
    found = re.fullmatch(_SIMPLE, text, re.IGNORECASE)
    if not found or re.search(_WORDS, re.sub(r'"[^"]*"', "", found["columns"] + " " + found["table"] + " " + (found["cursor"] or ""))):
        return None
    if ('"' in text and dialect in _QUOTES_ARE_STRINGS) or (found["cursor"] and not incremental):
        return None
    names = None if found["columns"] == "*" else [_name(item, dialect) for item in re.findall(_I, found["columns"])]
    outputs = None if names is None else tuple((name, name) for name in names)
    base = ".".join(quote(_name(part, dialect), "postgresql") for part in re.findall(_I, found["table"]))
    if not found["cursor"]:
        return Query(found["head"], base=base, outputs=outputs)
    cursor = _name(found["cursor"], dialect)
    if names is not None and _key(cursor, dialect) not in [_key(name, dialect) for name in names]:
        raise _not_given(found["cursor"])
    return Query(found["head"] + found["where"], "", found["cursor"], cursor, base, outputs)


def _name(written: str, dialect: str) -> str:
    return written[1:-1] if written.startswith('"') else fold(written, dialect)


def _key(name: str, dialect: str) -> str:
    """What two folded names are compared by: outside PostgreSQL case hardly ever tells columns apart."""
    return name if dialect == "postgresql" else name.lower()


def _not_given(column: str) -> PlanError:
    return PlanError(
        f"the query compares {column} with '?' but does not give it: its newest value is where the next run starts;"
        " add it to the SELECT list",
        code="cursor-invalid",
    )


def cut_error() -> PlanError:
    """A query whose LIMIT would lose rows."""
    return _invalid("an incremental query must not have LIMIT, OFFSET or FETCH: rows beyond it would be passed by the watermark and lost")


def _cuts(select: Any) -> bool:
    return any(select.args.get(key) for key in ("limit", "offset", "fetch"))


def _invalid(message: str) -> PlanError:
    return PlanError(message, code="cursor-invalid")


def _parse_any(text: str, dialect: str, incremental: bool) -> Query:
    import sqlglot

    name = _SQLGLOT.get(dialect, dialect)
    name = name if name in {known.value for known in sqlglot.Dialects} else ""
    try:
        tokens = sqlglot.tokenize(text, dialect=name)
        while tokens and tokens[-1].text == ";":
            tokens.pop()
        if not tokens or tokens[0].text.upper() not in ("SELECT", "WITH", "(", "FROM"):
            raise PlanError(f"expected a query that begins with SELECT or WITH, got {tokens[0].text if tokens else ''!r}")
        text = text[: tokens[-1].end + 1]
        statements = sqlglot.parse(text, dialect=name)
    except sqlglot.errors.SqlglotError as bad:
        if re.search(r"\?\s*::|CAST\s*\(\s*\?", text, re.IGNORECASE):
            raise _invalid(f"understood is {UNDERSTOOD}; leave the cast of '?' out: the value is written in the column's type") from bad
        raise PlanError(
            f"the query cannot be read as {dialect} ({_first_line(bad)}): if the database does accept it, make it a view"
        ) from bad
    root = _one_select([statement for statement in statements if statement is not None])
    reader = _Reader(text, tokens, root, dialect)
    return reader.read(incremental)


def _first_line(error: Exception) -> str:
    details = getattr(error, "errors", None)
    if details:
        found = details[0]
        return f"{found['description']}, line {found['line']}, column {found['col']}"
    return str(error).splitlines()[0]


def _one_select(statements: list[Any]) -> exp.Query:
    from sqlglot import exp

    if len(statements) != 1:
        raise PlanError(f"expected one SELECT, got {len(statements)} statements")
    root = statements[0]
    if not isinstance(root, exp.Query):
        raise PlanError(f"expected a SELECT, got {type(root).__name__.upper()}")
    for node in root.walk():
        if isinstance(node, (exp.DML, exp.DDL, exp.Into, exp.Command)) and not isinstance(node, exp.Query):
            raise PlanError(f"expected a query that only reads, got {type(node).__name__.upper()} in it")
        if isinstance(node, exp.Lock):
            raise PlanError("expected a query that only reads, got FOR UPDATE or FOR SHARE in it: remove it")
    if not root.selects:  # PostgreSQL takes it, and gives rows of nothing
        raise PlanError("expected columns between SELECT and FROM, got none")
    return root


class _Reader:
    """Finds in one parsed query what `Query` holds."""

    def __init__(self, text: str, tokens: list[Any], root: exp.Query, dialect: str) -> None:
        self._text = text
        self._tokens = tokens
        self._root = root
        self._dialect = dialect

    def read(self, incremental: bool) -> Query:
        from sqlglot import exp

        marks = [node for node in self._root.find_all(exp.Placeholder) if node.args.get("jdbc") or not node.args.get("this")]
        named: list[Any] = [node for node in self._root.find_all(exp.Placeholder) if node.args.get("this")]
        if self._dialect == "postgresql":
            named += list(self._root.find_all(exp.Parameter))  # $1; elsewhere @name is a variable of the session
        if named:
            raise _invalid(f"expected '?' as the only placeholder of a query, got {named[0].sql()}")
        base, outputs = self._base()
        if not marks:
            return Query(self._text[: self._end()], base=base, outputs=outputs, cuts=_cuts(self._root))
        if not incremental:
            raise _invalid("the query has a '?', where an incremental source starts: add incremental: true")
        if len(marks) > 1:
            raise _invalid(f"expected one '?', got {len(marks)}; understood is {UNDERSTOOD}")
        column, where = self._comparison(marks[0])
        cursor = self._follow(
            where.parent, self._qualifier(column), self._fold(column.this), column.sql(dialect=_SQLGLOT.get(self._dialect))
        )
        start, end = self._place(column)
        written = column.sql(dialect=_SQLGLOT.get(self._dialect, self._dialect if self._dialect in ("sqlite", "duckdb") else None))
        return Query(self._text[:start], self._text[end : self._end()], self._column_text(written, start, end), cursor, base, outputs)

    def _comparison(self, mark: exp.Placeholder) -> tuple[exp.Column, exp.Where]:
        """The column compared with `?`, and the WHERE whose every row must pass the comparison.

        Under OR, NOT or in a JOIN, rows would come that the comparison does not bound: the watermark could pass rows that were never read.
        """
        from sqlglot import exp

        test = mark.parent
        column = (
            test.right
            if isinstance(test, (exp.LT, exp.LTE)) and test.left is mark
            else test.left
            if isinstance(test, (exp.GT, exp.GTE))
            else None
        )
        if not isinstance(column, exp.Column) or isinstance(column.this, exp.Star):
            around = test.sql(dialect=_SQLGLOT.get(self._dialect)) if test is not None else "?"
            raise _invalid(f"understood is {UNDERSTOOD}; got {around[:80]!r}")
        node: Any = test
        while isinstance(node.parent, (exp.And, exp.Paren)):
            node = node.parent
        if not isinstance(node.parent, exp.Where):
            raise _invalid(f"understood is {UNDERSTOOD}; here it is part of {type(node.parent).__name__.upper()}")
        return column, node.parent

    def _follow(self, select: Any, qualifier: str | None, name: str, written: str) -> str:
        """Follow the compared column outward through subqueries and CTEs to the name it has in the output."""
        from sqlglot import exp

        while True:
            self._refuse_cut(select)
            name = self._projected(select, qualifier, name, written)
            holder = select.parent
            while (
                isinstance(holder, exp.Subquery)
                and not holder.alias
                and holder is not self._root
                and isinstance(holder.parent, exp.Subquery)
            ):
                holder = holder.parent
            if isinstance(holder, exp.SetOperation):
                raise _invalid("the '?' bounds one part of a UNION only: write SELECT * FROM (... UNION ...) t WHERE updated_at > ?")
            if holder is None or holder is self._root:
                if holder is not None:
                    self._refuse_cut(holder)
                return name
            if isinstance(holder, exp.CTE):
                holder = self._only_use(holder)
            if holder.args.get("alias") is not None and holder.args["alias"].args.get("columns"):
                raise _invalid(f"the column compared with '?' is renamed by {holder.alias}(...): compare it in the outer WHERE")
            self._refuse_cut(holder)
            qualifier = (
                self._fold(holder.args["alias"].this) if holder.alias else self._of(holder.this) if isinstance(holder, exp.Table) else None
            )
            owner = holder.parent.parent if isinstance(holder.parent, (exp.From, exp.Join)) else None
            if not isinstance(owner, exp.Select):
                raise _invalid(f"the '?' is in a subquery whose rows are not the output: understood is {UNDERSTOOD}")
            select = owner

    def _only_use(self, cte: exp.CTE) -> exp.Table:
        from sqlglot import exp

        name = self._fold(cte.args["alias"].this)
        uses = [table for table in self._root.find_all(exp.Table) if not table.db and self._of(table.this) == name]
        if len(uses) != 1 or cte.parent.args.get("recursive"):
            raise _invalid(f"the '?' is in the CTE {cte.alias}, used {len(uses)} times or recursive: compare in the outer WHERE instead")
        return uses[0]

    def _refuse_cut(self, select: Any) -> None:
        if any(select.args.get(key) for key in ("limit", "offset", "fetch")):
            raise _invalid(
                "an incremental query must not have LIMIT, OFFSET or FETCH: rows beyond it would be passed by the watermark and lost"
            )

    def _projected(self, select: exp.Select, qualifier: str | None, name: str, written: str) -> str:
        """The output name of a column; one that is written out wins over a star."""
        from sqlglot import exp

        starred = False
        for item in select.expressions:
            inner = item.this if isinstance(item, exp.Alias) else item
            if isinstance(inner, exp.Max):
                inner = inner.this
            if isinstance(inner, exp.Star):
                dropped = {self._of(column) for key in ("except_", "except") for column in inner.args.get(key) or ()}
                changed = any(inner.args.get(key) for key in ("replace", "rename"))
                starred = starred or (_key(name, self._dialect) not in dropped and not changed)
            elif isinstance(inner, exp.Column):
                other = self._qualifier(inner)
                if qualifier is not None and other is not None and qualifier != other:
                    continue
                if isinstance(inner.this, exp.Star):
                    starred = True
                elif self._of(inner.this) == _key(name, self._dialect):
                    return self._fold(item.args["alias"]) if isinstance(item, exp.Alias) else name
        if not starred:
            raise _not_given(written)
        return name

    def _base(self) -> tuple[str | None, tuple[tuple[str, str], ...] | None]:
        """The one table whose rows come, each at most once, and what its columns are called in the output."""
        from sqlglot import exp

        root = self._root
        if not isinstance(root, exp.Select) or any(
            root.args.get(key) for key in ("with_", "with", "joins", "laterals", "group", "having", "distinct", "qualify")
        ):
            return None, None
        source = root.args.get("from_") or root.args.get("from")
        table = source.this if source is not None else None
        if (
            not isinstance(table, exp.Table)
            or not isinstance(table.this, exp.Identifier)
            or any(table.args.get(key) for key in ("joins", "laterals", "sample", "pivots"))
        ):
            return None, None
        plain = (
            exp.Alias,
            exp.Column,
            exp.Identifier,
            exp.Literal,
            exp.Cast,
            exp.DataType,
            exp.Coalesce,
            exp.Upper,
            exp.Lower,
            exp.Trim,
            exp.Round,
        )
        given: list[tuple[str, str]] = []
        whole = False
        for item in root.expressions:
            inner = item.this if isinstance(item, exp.Alias) else item
            if isinstance(inner, exp.Star) or (isinstance(inner, exp.Column) and isinstance(inner.this, exp.Star)):
                if any(inner.args.get(key) for key in ("except_", "except", "replace", "rename")):
                    return None, None
                whole = True
            elif isinstance(inner, exp.Column):
                given.append((self._fold(inner.this), self._fold(item.args["alias"] if isinstance(item, exp.Alias) else inner.this)))
            elif not all(
                isinstance(node, (*plain, exp.Binary, exp.Paren, exp.Neg, exp.Null, exp.Boolean, exp.Case, exp.If)) for node in item.walk()
            ):
                return None, None  # a function that gives several rows for one looks like any other
        base = ".".join(quote(self._fold(part), "postgresql") for part in table.parts)
        return base, None if whole else tuple(given)

    def _fold(self, identifier: exp.Identifier) -> str:
        return str(identifier.this) if identifier.args.get("quoted") else fold(str(identifier.this), self._dialect)

    def _of(self, identifier: exp.Identifier) -> str:
        return _key(self._fold(identifier), self._dialect)

    def _qualifier(self, column: exp.Column) -> str | None:
        part = column.args.get("table")
        return self._of(part) if part is not None else None

    def _place(self, column: exp.Column) -> tuple[int, int]:
        """Start and end of the comparison in the text: the tokens of the column, the operator and the `?`."""
        tokens = self._tokens
        width = 2 * len(column.parts) - 1
        found: list[tuple[int, int]] = []
        for at, token in enumerate(tokens):
            if self._text[token.start : token.end + 1] != "?":
                continue
            if at >= width + 1 and tokens[at - 1].text in (">", ">="):
                found.append((tokens[at - 1 - width].start, token.end + 1))
            elif at + 1 + width < len(tokens) and tokens[at + 1].text in ("<", "<="):
                found.append((token.start, tokens[at + 1 + width].end + 1))
        if len(found) != 1:
            raise _invalid(f"understood is {UNDERSTOOD}; the one in this query cannot be told from other uses of '?'")
        return found[0]

    def _column_text(self, written: str, start: int, end: int) -> str:
        from sqlglot.tokens import TokenType

        inside = [token for token in self._tokens if start <= token.start and token.end < end and token.token_type != TokenType.PLACEHOLDER]
        column = [token for token in inside if token.text not in ("<", "<=", ">", ">=")]
        return "".join(self._text[token.start : token.end + 1] for token in column) or written

    def _end(self) -> int:
        """Where the text ends once a top-level ORDER BY is dropped: rows carry no order beyond the read, and a sort of all rows is dear.

        Kept where it decides which rows come (LIMIT, OFFSET, DISTINCT ON).
        """
        args = self._root.args
        distinct = args.get("distinct")
        if (
            not args.get("order")
            or any(args.get(key) for key in ("limit", "offset", "fetch"))
            or (distinct is not None and distinct.args.get("on"))
        ):
            return len(self._text)
        depth, at = 0, len(self._text)
        for token in self._tokens:
            depth += {"(": 1, ")": -1}.get(token.text, 0) if self._text[token.start] in "()" else 0
            if depth == 0 and self._text[token.start : token.end + 1].upper().startswith("ORDER"):
                at = token.start
        return len(self._text[:at].rstrip())
