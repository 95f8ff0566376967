"""Reading of labelled transactions: amounts, dates, and the files that people really have."""

from __future__ import annotations

import sqlite3
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.errors import InvalidInputError
from inference_server.predictors.suggestions.store import Store
from inference_server.predictors.suggestions.training.data import Example, TableError, read_rows
from inference_server.predictors.suggestions.training.splits import folds
from inference_server.predictors.suggestions.transactions import (
    Transaction,
    decode,
    encode,
    parse_amount,
    parse_date,
)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("12.50", 12.5),
        ("-12,50", -12.5),
        ("1,234.50", 1234.5),
        ("1.234,50 €", 1234.5),
        ("-1 234,50", -1234.5),
        ("1\u202f234,50", 1234.5),
        ("£1,234", 1234),
        ("(12.00)", -12),
        ("12.00-", -12),
        ("−7", -7),
        ("+7,5", 7.5),
        ("1.234.567", 1234567),
        ("", None),
        ("n/a", None),
        ("-", None),
    ],
)
def test_amounts(text: str, amount: float | None) -> None:
    assert parse_amount(text) == amount


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2026-03-12", date(2026, 3, 12)),
        ("2026-03-12T10:00:00Z", date(2026, 3, 12)),
        ("2026/03/12", date(2026, 3, 12)),
        ("12/03/2026", date(2026, 3, 12)),
        ("12.3.2026", date(2026, 3, 12)),
        ("03/25/2026", date(2026, 3, 25)),
        ("20260312", date(2026, 3, 12)),
        ("31/02/2026", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_dates(text: str, day: date | None) -> None:
    assert parse_date(text) == day


@given(st.text(max_size=40))
def test_no_text_makes_them_raise(text: str) -> None:
    parse_amount(text)
    parse_date(text)


def test_a_transaction_travels_as_a_string() -> None:
    one = Transaction(
        description="TESCO",
        merchant="Tesco",
        amount=-1.5,
        currency="GBP",
        day=date(2026, 3, 12),
        id="i",
        user="u",
    )
    assert decode(encode(one)) == one
    assert decode("TESCO 12") == Transaction(description="TESCO 12")
    with pytest.raises(InvalidInputError, match="has to be a transaction as JSON"):
        decode('{"merchant": 1}')


def read(tmp_path: Path, content: bytes | str, **options: object) -> tuple[list[Example], dict[str, int]]:
    path = tmp_path / "rows.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    rows, report = read_rows(path, **options)  # type: ignore[arg-type]
    assert report.used == len(rows)
    return rows, dict(report.left_out)


def test_columns_may_have_other_names_and_be_missing(tmp_path: Path) -> None:
    rows, left_out = read(
        tmp_path,
        "Libellé;Montant;Catégorie\nCB CARREFOUR;-12,50;Groceries\n;1;Dining\nx;;\n",
        columns={"description": "Libellé", "amount": "montant", "category": "Catégorie"},
    )
    assert [(row.transaction.description, row.transaction.amount, row.category) for row in rows] == [
        ("CB CARREFOUR", -12.5, "Groceries")
    ]
    assert left_out == {"no description": 1, "no category": 1}


def test_messy_files_are_read_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    long = "x" * 10_000_000
    content = (
        "\ufeffdescription\tcategory\n"
        "CAF\u00c9 DU PORT\tDining\n"
        "NUL\x00BYTES\tShopping\n"
        f"{long}\tShopping\n"
        "too few\n"
        "\n"
        "last without an end\tDining"
    )
    rows, left_out = read(tmp_path, content)
    assert [row.transaction.description for row in rows] == [
        "CAFÉ DU PORT",
        "NULBYTES",
        "last without an end",
    ]
    assert left_out == {"line too long": 1, "no category": 1}


def test_windows_1252_is_known(tmp_path: Path) -> None:
    rows, _ = read(tmp_path, "description,category\nCAFÉ,Dining\n".encode("cp1252"))
    assert rows[0].transaction.description == "CAFÉ"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\x00\x00\r\n", "the file is empty"),
        (b"a,b\n1,2\n", "expected the columns description, category, but there are a, b"),
        (b"description,category\n", "expected rows with a description"),
        (b'description,category\n"' + b"x\n" * 100_000, "Is a quotation mark open"),
    ],
)
def test_files_that_nothing_can_be_learned_from_are_sentences(
    tmp_path: Path, content: bytes, message: str
) -> None:
    with pytest.raises(TableError, match=message):
        read(tmp_path, content)


def test_a_large_file_is_sampled_the_same_way_each_time(tmp_path: Path) -> None:
    content = "description,category\n" + "".join(f"shop {n},C{n % 3}\n" for n in range(1000))
    rows, left_out = read(tmp_path, content, max_rows=100)
    again, _ = read(tmp_path, content, max_rows=100)
    assert rows == again
    assert left_out == {"sampled out": 900}
    assert len({row.transaction.description for row in rows}) == 100


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 3)), min_size=1, max_size=80), st.integers(2, 5))
def test_duplicates_never_go_to_different_splits(pairs: list[tuple[int, int]], count: int) -> None:
    rows = [Example(Transaction(description=str(key)), str(category), str(key)) for key, category in pairs]
    dealt = folds(rows, count, 1)
    assert set(dealt) <= set(range(count))
    for key in {row.key for row in rows}:
        assert len({int(fold) for row, fold in zip(rows, dealt, strict=True) if row.key == key}) == 1


def test_every_category_is_in_every_fold_where_its_purchases_allow() -> None:
    rows = [Example(Transaction(description=f"{c} {n}"), c, f"{c} {n}") for c in "abc" for n in range(7)]
    dealt = folds(rows, 5, 1)
    for category in "abc":
        sizes = [
            sum(row.category == category and fold == at for row, fold in zip(rows, dealt, strict=True))
            for at in range(5)
        ]
        assert sorted(sizes) == [1, 1, 1, 2, 2]


@pytest.mark.parametrize(
    "text",
    [
        '{"description": "TESCO \\ud83d"}',
        '{"description": "TESCO", "user_id": "\\udc00"}',
        '{"description": "TESCO", "amount": NaN}',
        '{"description": "TESCO", "amount": 1' + "0" * 400 + "}",
        '{"description": "TESCO", "amount": 1' + "0" * 5000 + "}",
        '{"description":' * 200_000,
        '{"description": ' + "[" * 100_000,
        '{"description": "' + "x" * (1 << 20) + '"}',
        '{"amount": 1}',
    ],
    ids=lambda text: text[:40] + str(len(text)),
)
def test_a_string_that_is_no_transaction_is_refused_before_it_is_predicted(text: str) -> None:
    with pytest.raises(InvalidInputError):
        decode(text)


@pytest.mark.parametrize("item", ["half \ud83d", object()], ids=["surrogate", "no value of a database"])
def test_rows_that_cannot_be_stored_leave_the_store_usable(item: object) -> None:
    store = Store()
    with pytest.raises((UnicodeError, sqlite3.Error)):
        store.add("feedback", [("good", *[""] * 5), (item, *[""] * 5)])
    store.add("feedback", [("after", *[""] * 5)])
    assert [row["item"] for row in store.newest("feedback", 9)] == ["after"]
