import asyncio
import copy
import pickle

import pytest

from aibrix_kvcache.status import Status, StatusCodes


@pytest.mark.parametrize("code", StatusCodes)
def test_every_code_has_its_question(code):
    status = Status(code, "why")
    answers = {other: getattr(status, f"is_{other.name.lower()}")() for other in StatusCodes}
    assert answers == {other: other is code for other in StatusCodes}


def test_codes_have_the_numbers_of_the_original():
    names = ["OK", "ERROR", "NOT_FOUND", "INVALID", "OUT_OF_MEMORY", "TIMEOUT", "DENIED", "CANCELLED"]
    assert [(code.name, code.value) for code in StatusCodes] == [(name, i + 1) for i, name in enumerate(names)]


def test_a_value_makes_an_ok_status():
    assert Status(7).get() == 7
    assert Status((1, "a")).is_ok()
    assert Status.ok(0).get(5) == 0
    with pytest.raises(AssertionError, match="'second'"):
        Status("first", "second")


def test_a_status_copies_another():
    failed = Status(StatusCodes.ERROR, RuntimeError("broken"))
    again = Status(failed)
    assert again == failed
    assert again.trace == failed.trace


def test_get_is_for_values():
    assert Status(StatusCodes.NOT_FOUND).get() is None
    assert Status(StatusCodes.NOT_FOUND, "value of a failure").get(3) == 3
    with pytest.raises(AssertionError):
        Status(StatusCodes.OK).get()


def test_the_trace_is_that_of_the_exception():
    def fails():
        raise KeyError("lost")

    try:
        fails()
    except KeyError as error:
        caught = error
    status = Status.error(StatusCodes.ERROR, caught)  # made later, when the exception is handled no longer
    assert "in fails" in status.trace
    assert "lost" in repr(status)
    assert Status(StatusCodes.OK, ValueError("a value")).trace is None
    assert Status(StatusCodes.ERROR, "text").trace is None


def test_unknown_attributes():
    assert Status(1).is_something_new() is False
    with pytest.raises(AttributeError, match="'nothing'"):
        _ = Status(1).nothing


def test_raising():
    Status(1).raise_if_not_ok()
    Status(StatusCodes.DENIED, "text").raise_if_has_exception()
    with pytest.raises(RuntimeError, match=r"DENIED.*Sequence too long"):
        Status(StatusCodes.DENIED, "Sequence too long").raise_if_not_ok()
    with pytest.raises(KeyError):
        Status(StatusCodes.ERROR, KeyError("x")).raise_if_not_ok()


def test_statuses_compare_by_content_and_travel():
    status = Status(StatusCodes.TIMEOUT, "late")
    assert status == Status(StatusCodes.TIMEOUT, "late") != Status(StatusCodes.TIMEOUT, "later")
    assert pickle.loads(pickle.dumps(status)) == copy.deepcopy(status) == status
    with pytest.raises(TypeError):
        hash(status)


def test_capture_exception():
    @Status.capture_exception
    def divide(a, b=1):
        """Divides."""
        assert a >= 0
        return a / b

    assert divide(4, b=2) == 2
    assert isinstance(divide(1, 0).value, ZeroDivisionError)
    assert "divide" in divide(1, 0).trace
    assert divide.__name__ == "divide"
    with pytest.raises(AssertionError):
        divide(-1)


def test_capture_exception_of_coroutines():
    @Status.capture_exception
    async def divide(a, b):
        await asyncio.sleep(0)
        assert a >= 0
        if b is None:
            raise asyncio.CancelledError
        return a / b

    assert asyncio.run(divide(4, 2)) == 2
    assert asyncio.run(divide(1, 0)).is_error()
    with pytest.raises(AssertionError):
        asyncio.run(divide(-1, 1))
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(divide(1, None))
