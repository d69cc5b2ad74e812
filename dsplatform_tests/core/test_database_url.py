import pytest

from dsplatform.core.database_url import libpq_url


@pytest.mark.parametrize("driver", ["", "+psycopg", "+psycopg2"])
@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
@pytest.mark.parametrize("rest", ["", "h/x", "ada:p%2B@h:5432/x?options=-c%20a+b", "u:a+b://c@h/x+y"])
def test_the_driver_is_left_out_and_nothing_else(scheme: str, driver: str, rest: str) -> None:
    assert libpq_url(f"{scheme}{driver}://{rest}") == f"{scheme}://{rest}"


@pytest.mark.parametrize("url", ["", "host=h dbname=a+b://c", "h/x", "host=/tmp user=a+b"])
def test_what_is_no_address_with_a_driver_stays_as_it_is(url: str) -> None:
    assert libpq_url(url) == url
