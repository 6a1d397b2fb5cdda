"""What the embedded store reads from a statement before the engine sees it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forewarn.embedded.store.errors import QueryError
from forewarn.embedded.store.request import read_work
from forewarn.embedded.store.sql import Statement, check_values, quoted, quoted_name, read_statement

NOISE = st.lists(
    st.sampled_from(
        [
            *(
                "' '",
                "'\\''",
                "'it''s'",
                "x'5c'",
                "`a\\``",
                '"b"""',
                "/* ' */",
                '-- "\n',
                "# `\n",
                "$$ ' $$",
                '$t$ " $t$',
            ),
            *("‘ ' ’", "“ ' ”", "1", "a", "(", ")", ",", ".", "\n", "\0", "''", "/**/"),
        ]
    ),
    max_size=8,
)


@given(NOISE, NOISE)
def test_no_noise_hides_a_call(before: list[str], after: list[str]) -> None:
    """Whatever quotes and comments stand around it, file('x') is seen."""
    text = " ".join(["SELECT", *before, "file ('x')", *after])
    with pytest.raises(QueryError, match="blocked"):
        read_statement(text.encode())


@given(NOISE)
def test_noise_alone_blocks_nothing(noise: list[str]) -> None:
    """Words inside of quotes and comments are no calls."""
    text = " ".join(["SELECT", *noise, "'file(1) INTO OUTFILE'", "/* disk(1) */", "`into` outfile"])
    assert read_statement(text.encode()).kind == "rows"


@given(st.text())
def test_a_quoted_value_is_one_token(text: str) -> None:
    """Nothing in it is read as SQL."""
    for value in (quoted(text), quoted_name(text)):
        assert read_statement(f"SELECT {value}".encode("utf-8", "surrogatepass")).kind == "rows"


@pytest.mark.parametrize(
    ("text", "head", "form", "rows"),
    [
        (b"INSERT INTO t FORMAT TSV\n1\n", b"INSERT INTO t ", "TSV", b"1\n"),
        (b"insert into t format CSV 1\n", b"insert into t ", "CSV", b"1\n"),
        (b"INSERT INTO t FORMAT Native\r\n\x00;", b"INSERT INTO t ", "Native", b"\x00;"),
        (b"INSERT INTO t (a, b) VALUES (1, ';')", b"INSERT INTO t (a, b) ", "Values", b" (1, ';')"),
        (b"INSERT INTO format (values) FORMAT TSV\n1", b"INSERT INTO format (values) ", "TSV", b"1"),
        (b"INSERT INTO TABLE d.values VALUES (1)", b"INSERT INTO TABLE d.values ", "Values", b" (1)"),
        (b"INSERT INTO `a FORMAT b` FORMAT TSV\n", b"INSERT INTO `a FORMAT b` ", "TSV", b""),
        (b"INSERT INTO t SETTINGS x = 1 FORMAT TSV\n1", b"INSERT INTO t SETTINGS x = 1 ", "TSV", b"1"),
        (
            b"/* c */ INSERT INTO t (a) -- VALUES\n FORMAT TSV\n2",
            b"/* c */ INSERT INTO t (a) -- VALUES\n ",
            "TSV",
            b"2",
        ),
        (b"INSERT INTO t (a)", b"INSERT INTO t (a)", None, b""),
        (b"INSERT INTO t;", b"INSERT INTO t", None, b""),
    ],
)
def test_an_insert_ends_where_its_rows_begin(text: bytes, head: bytes, form: str | None, rows: bytes) -> None:
    """Names that are keywords, comments, blanks: the first byte of the rows is found."""
    found = read_statement(text)
    assert (found.kind, found.head, found.format, text[found.data_at :]) == ("insert", head, form, rows)


@pytest.mark.parametrize(
    ("text", "kind", "form"),
    [
        (b"INSERT INTO t SELECT 1", "other", None),
        (b"INSERT INTO t (a) WITH 1 AS x SELECT x", "other", None),
        (b"WITH 1 AS x SELECT x FORMAT JSON", "rows", "JSON"),
        (b"SELECT 1 FORMAT TSV SETTINGS a = 1;", "rows", "TSV"),
        (b"SELECT format('x', 1)", "rows", None),
        (b"SET a = 1", "session", None),
        (b"use x", "session", None),
        (b"CREATE TABLE t AS SELECT 1", "other", None),
        (b"-- nothing", "empty", None),
        (b" ;", "other", None),
    ],
)
def test_statements_are_told_apart(text: bytes, kind: str, form: str | None) -> None:
    """By their first words; a format by its clause, not by a function's name."""
    found: Statement = read_statement(text)
    assert (found.kind, found.format) == (kind, form)


def test_nothing_may_follow_the_semicolon_after_values() -> None:
    """The engine would stop there, store what came before, and say nothing."""
    check_values(b"(1, 'a;b'), (2, 'it''s; \\';') ; \n")
    for rows in (b"(1); (2)", b"(1);DROP TABLE t", b"('a;');;x"):
        with pytest.raises(QueryError, match="follows the semicolon"):
            check_values(rows)


@pytest.mark.parametrize("cut", [1, 5, 17, 100])
def test_query_and_body_are_one_text(cut: int) -> None:
    """However the statement and its rows are spread over URL, body and pieces."""
    whole = b"INSERT INTO t (a) FORMAT TSV\n" + b"1\n" * 50
    pieces = [whole[at : at + cut] for at in range(0, len(whole), cut)]
    work = read_work(None, pieces)
    assert b"".join(work.rows) == b"1\n" * 50
    work = read_work("INSERT INTO t (a) FORMAT TSV", [b"", b"1\n", b"2\n"])
    assert b"".join(work.rows) == b"1\n2\n"
    assert read_work("SELECT 1", [b"FORMAT JSON"]).statement.format == "JSON"
