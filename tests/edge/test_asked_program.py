"""What a program prints when it is asked."""

import sys

from coeval_edge.asked_program import answer_of


def prints(code: str) -> str | None:
    return answer_of([sys.executable, "-c", code])


def test_an_answer_is_what_the_program_prints() -> None:
    assert prints("print(7)") == "7\n"


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert prints(r"import sys; sys.stdout.buffer.write(b'a\xff')") == "a\ufffd"


def test_a_program_that_fails_or_is_not_there_says_nothing() -> None:
    assert prints("print(7); raise SystemExit(1)") is None
    assert answer_of(["no-such-program"]) is None
