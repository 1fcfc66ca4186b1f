"""The shop's pages as HTML."""

from collections.abc import Sequence
from html import escape

from .goods import CATEGORIES, Product

PAGE_SIZE = 20


def front() -> str:
    """The page with all categories."""
    links = "\n".join(
        f'<li><a class="category" href="/category/{name}">{name.title()}</a> <small>{count}</small></li>'
        for name, count in CATEGORIES.items()
    )
    return _page("All our things", f"<ul class='categories'>\n{links}\n</ul>")


def category(name: str, goods: Sequence[Product], number: int) -> str:
    """One page of a category, `number` from 1 on."""
    shown = goods[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]
    items = "\n".join(_item(good) for good in shown)
    following = (
        f'<a rel="next" href="/category/{name}?page={number + 1}">Next</a>' if number * PAGE_SIZE < len(goods) else ""
    )
    return _page(
        name.title(),
        f'<p class="count">{len(goods)} things</p>\n<ol class="products">\n{items}\n</ol>\n<nav>{following}</nav>',
        crumbs=f'<a href="/">Shop</a> › {name.title()}',
    )


def _item(good: Product) -> str:
    link = f'<a href="{good.path}">{escape(good.name)}</a>'
    return f'<li class="product">{link} <span class="price">{won(good.price)}</span></li>'


def product(good: Product) -> str:
    """The page of one product."""
    rating = f'<span class="rating" data-value="{good.rating}">{"★" * round(good.rating)}</span>' if good.rating else ""
    stock = f"{good.stock} in stock" if good.stock else "Sold out"
    return _page(
        good.name,
        f'<p class="price" data-currency="KRW">{won(good.price)}</p>\n{rating}\n'
        f'<p class="stock {"yes" if good.stock else "no"}">{stock}</p>\n<p class="sku">PM-{good.id}</p>\n'
        f'<div class="description">{good.description}</div>',
        crumbs=f'<a href="/">Shop</a> › <a href="/category/{good.category}">{good.category.title()}</a>',
    )


def error(status: int, text: str) -> str:
    """A page that says what went wrong."""
    return _page(f"{status}", f"<p>{escape(text)}</p>")


def won(amount: int) -> str:
    """A price as the shop writes it."""
    return f"₩{amount:,}"


def _page(title: str, body: str, crumbs: str = "") -> str:
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{escape(title)} · Shop</title></head>\n'
        f'<body>\n<nav class="crumbs">{crumbs}</nav>\n<h1>{escape(title)}</h1>\n{body}\n'
        f'<footer><a href="/imprint">Imprint</a></footer>\n</body>\n</html>\n'
    )
