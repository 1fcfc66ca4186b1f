"""A small shop to scrape: a few hundred products on a server of its own, the same ones every time.

    with Shop() as shop:            # a free port on 127.0.0.1
        print(shop.url)

It behaves as shops do: pages of twenty, a breadcrumb, prices in a format of their own, sold-out goods, links that lead
nowhere interesting, one page that is slow, and now and then an error 500 that is gone the next time. All of it is
deterministic: what a run sees depends on nothing but what it asks for.

Alone: `python -m examples.shop --port 8080`.
"""

from .goods import CATEGORIES, Product, products
from .server import Shop

__all__ = ["CATEGORIES", "Product", "Shop", "products"]
