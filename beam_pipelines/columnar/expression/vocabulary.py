"""What an expression may say: scalar, deterministic functions and plain types. Everything else is refused, new DuckDB functions included.

Left out on purpose: aggregates and window functions (they would see one batch), everything volatile or dependent on the session (`random`,
`uuid`, `nextval`, `error`, settings, catalogs), lambdas, and functions whose result is sized by a number alone (`range`, `bar`).
"""

from __future__ import annotations

import difflib

__all__ = ["CLOCK", "FUNCTIONS", "NAMED_ARGUMENTS", "OPERATORS", "TOTAL", "TYPES", "refusal"]

_TEXT = """
    array_to_string ascii base64 bin bit_length char_length character_length chr concat concat_ws contains damerau_levenshtein
    decode editdist3 encode ends_with format format_bytes from_base64 from_binary from_hex hamming hex ilike_escape instr jaccard
    jaro_similarity jaro_winkler_similarity lcase left left_grapheme len length length_grapheme levenshtein like_escape lower lpad
    ltrim md5 mismatches nfc_normalize not_ilike_escape not_like_escape octet_length ord overlay parse_dirname parse_filename
    parse_path position prefix printf regexp_escape regexp_extract regexp_extract_all regexp_full_match regexp_matches
    regexp_replace regexp_split_to_array repeat replace reverse right right_grapheme rpad rtrim sha1 sha256 split split_part
    starts_with str_split str_split_regex string_split string_split_regex string_to_array strip_accents strlen strpos substr
    substring substring_grapheme suffix to_base64 to_binary to_hex translate trim ucase unbin unhex unicode upper url_decode
    url_encode
"""
_NUMBER = """
    abs acos acosh add asin asinh atan atan2 atanh bit_count cbrt ceil ceiling cos cosh cot degrees divide even exp factorial fdiv
    floor fmod gamma gcd greatest greatest_common_divisor isfinite isinf isnan lcm least least_common_multiple lgamma ln log log10
    log2 mod multiply nextafter pi pow power radians round round_even roundbankers sign signbit sin sinh sqrt subtract tan tanh
    trunc xor
"""
_TIME = """
    age century date_add date_diff date_part date_sub date_trunc datediff datepart datesub datetrunc day dayname dayofmonth
    dayofweek dayofyear days_in_month decade epoch epoch_ms epoch_ns epoch_us era hour isodow isoyear julian last_day make_date
    make_time make_timestamp make_timestamp_ms make_timestamp_ns make_timestamptz microsecond millennium millisecond minute month
    monthname nanosecond quarter second strftime strptime time_bucket timezone timezone_hour timezone_minute to_centuries to_days
    to_decades to_hours to_microseconds to_millennia to_milliseconds to_minutes to_months to_quarters to_seconds to_timestamp
    to_weeks to_years try_strptime week weekday weekofyear year yearweek
"""
_NESTED = """
    array_concat array_contains array_extract array_has array_has_all array_has_any array_length array_position array_slice
    array_value cardinality element_at from_json json_array json_array_length json_contains json_exists json_extract
    json_extract_path json_extract_path_text json_extract_string json_keys json_merge_patch json_object json_quote json_transform
    json_type json_valid json_value list_append list_avg list_concat list_contains list_count list_distinct list_element
    list_extract list_first list_has list_has_all list_has_any list_indexof list_intersect list_last list_max list_min list_pack
    list_position list_prepend list_reverse list_slice list_sort list_sum list_unique list_value map map_concat map_contains
    map_entries map_extract map_extract_value map_from_entries map_keys map_values row struct_extract struct_insert struct_keys
    struct_pack to_json
"""
_CHOICE = "if nullif typeof"
_SIGNS = "+ - * / // % ** ^ & | ~ << >> || -> ->> ~~ !~~ ~~* !~~* ~~~ ^@ @> <@ && @"
_NEVER_FAIL = """
    char_length contains ends_with isnan lcase left length lower ltrim prefix right rtrim split_part starts_with strlen trim ucase upper
"""
_OVER_ROWS = """
    any_value arg_max arg_min avg bool_and bool_or count count_star first last list max mean median min mode quantile string_agg sum
"""

FUNCTIONS: frozenset[str] = frozenset(" ".join((_TEXT, _NUMBER, _TIME, _NESTED, _CHOICE)).split())
OPERATORS: frozenset[str] = frozenset(_SIGNS.split())
NAMED_ARGUMENTS: frozenset[str] = frozenset(("struct_pack", "struct_insert"))

# The run's start, whatever the clock says: every range and every retry of a run must see one time.
CLOCK: dict[str, str] = {
    "now": "TIMESTAMP WITH TIME ZONE",
    "current_timestamp": "TIMESTAMP WITH TIME ZONE",
    "get_current_timestamp": "TIMESTAMP WITH TIME ZONE",
    "transaction_timestamp": "TIMESTAMP WITH TIME ZONE",
    "today": "DATE",
    "current_date": "DATE",
    "localtimestamp": "TIMESTAMP",
    "current_localtimestamp": "TIMESTAMP",
}

# Functions that give null for null and nothing else, and never fail on the types they take: their nulls need no second look.
TOTAL: frozenset[str] = frozenset(_NEVER_FAIL.split())

_TYPES = """
    bool boolean logical tinyint int1 smallint int2 short integer int int4 signed bigint int8 long hugeint int128 utinyint usmallint
    uinteger ubigint uint8 uint16 uint32 uint64 int16 int32 int64 float float4 real double float8 decimal dec numeric varchar text
    string char bpchar blob bytea binary varbinary date time timestamp datetime timestamp_s timestamp_ms timestamp_us timestamp_ns
    timestamptz interval uuid json list struct map null
"""
TYPES: frozenset[str] = frozenset([*_TYPES.split(), "timestamp with time zone"])

_WHY = {
    "random": "it gives another value on each retry",
    "uuid": "it gives another value on each retry",
    "uuidv4": "it gives another value on each retry",
    "uuidv7": "it gives another value on each retry",
    "gen_random_uuid": "it gives another value on each retry",
    "nextval": "it gives another value on each retry",
    "hash": "its values change between releases; use md5 or sha256",
    "getenv": "expressions see the row and nothing else",
    "error": "write a filter, or a function step that raises",
}
_AGGREGATES = frozenset(_OVER_ROWS.split())
_LAMBDAS = frozenset(
    f"{prefix}_{name}" for prefix in ("list", "array") for name in ("transform", "apply", "filter", "reduce", "aggregate")
) | frozenset(("apply", "filter", "reduce"))


def refusal(name: str) -> tuple[str, str]:
    """Return (message, hint) for a function that expressions may not call."""
    if name in _AGGREGATES:
        return f"the function {name!r} is an aggregate, and an expression sees one row", "aggregate in the source's query"
    if name in _LAMBDAS:
        return f"the function {name!r} takes a lambda, which expressions do not have", "use a step of type function"
    if name in _WHY:
        return f"the function {name!r} is not allowed in an expression: {_WHY[name]}", ""
    near = difflib.get_close_matches(name, FUNCTIONS, n=3, cutoff=0.75)
    hint = f"did you mean {' or '.join(near)}?" if near else "use a step of type function"
    return f"expected one of the scalar, deterministic functions, got {name!r}", hint
