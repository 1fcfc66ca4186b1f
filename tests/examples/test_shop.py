"""The example shop: the same for everybody, with its stumbles and its slow page."""

import re
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.parse import urljoin
from urllib.request import urlopen

import pytest

from examples.shop import CATEGORIES, Shop, products


@pytest.fixture
def shop() -> Iterator[Shop]:
    with Shop(slow_seconds=0.0) as shop:
        yield shop


def get(shop: Shop, path: str) -> str:
    """A page, asked for again when the shop stumbles."""
    for _ in range(2):
        try:
            with urlopen(shop.url + path, timeout=30) as answer:
                return str(answer.read().decode())
        except HTTPError as error:
            error.close()
            if error.code != 500:
                raise
    raise AssertionError("failed twice")


def test_a_few_hundred_products_the_same_every_time() -> None:
    assert len(products()) == sum(CATEGORIES.values()) == 298
    assert len({good.id for good in products()}) == 298
    assert (products()[0].name, products()[0].price) == (products()[0].name, products()[0].price)
    assert products()[-1].category == "knives"


def test_every_product_can_be_reached(shop: Shop) -> None:
    front = get(shop, "/")
    found: set[str] = set()
    for category in re.findall(r'class="category" href="([^"]+)"', front):
        page = category
        while page:
            html = get(shop, page)
            found.update(re.findall(r'href="(/product/\d+)"', html))
            following = re.search(r'rel="next" href="([^"]+)"', html)
            page = following[1] if following else ""
    assert found == {good.path for good in products()}
    good = products()[5]
    html = get(shop, good.path)
    assert f"₩{good.price:,}" in html
    assert f"PM-{good.id}" in html


def test_some_pages_fail_once_and_only_once(shop: Shop) -> None:
    unlucky = []
    for good in products():
        try:
            urlopen(shop.url + good.path, timeout=30).close()
        except HTTPError as error:
            error.close()
            unlucky.append((good.path, error.code))
    assert 3 <= len(unlucky) <= 20
    assert {code for _, code in unlucky} == {500}
    for path, _ in unlucky:
        urlopen(shop.url + path, timeout=30).close()
    assert shop.failures == len(unlucky)


@pytest.mark.parametrize(
    "path", ["/imprint", "/category/cars", "/category/tea?page=0", "/category/tea?page=99", "/category/tea?page=x",
             "/product/1", "/product/../etc/passwd", "/product/" + "9" * 900, "/category/tea/2"],
)  # fmt: skip
def test_what_is_not_there(shop: Shop, path: str) -> None:
    with pytest.raises(HTTPError) as caught:
        get(shop, path)
    assert caught.value.code == 404
    caught.value.close()


def test_closing_does_not_wait_for_the_slow_page() -> None:
    import threading

    opened, outcome = threading.Event(), []

    def ask(url: str) -> None:
        opened.set()
        try:
            urlopen(url, timeout=60).close()
            outcome.append("answered")
        except OSError as error:
            outcome.append(type(error).__name__)

    with Shop(slow_seconds=3600.0) as shop:
        asking = threading.Thread(target=ask, args=(urljoin(shop.url, "/category/lamps?page=2"),))
        asking.start()
        opened.wait()
    asking.join(30)
    assert len(outcome) == 1
