#!/usr/bin/env python3
"""Scrape one category of the shop, product by product, and print what was found as JSON.

    python catalogue.py --parameters '{"base_url": "http://127.0.0.1:8080", "category": "tea"}'

An ordinary script: it runs without Pumasi, and needs nothing but Python. Where Pumasi is at hand it says how far it is.
"""

# /// script
# requires-python = ">=3.11"
# [tool.pumasi]
# description = "Scrapes a category of the example shop"
# memory_limit = "256MB"
# timeout = "2m"
# labels = { example = "shop" }
# [tool.pumasi.parameters]
# type = "object"
# required = ["base_url", "category"]
# additionalProperties = false
# [tool.pumasi.parameters.properties]
# base_url = { type = "string", pattern = "^https?://" }
# category = { type = "string", minLength = 1 }
# limit = { type = "integer", minimum = 1 }
# ///

import argparse
import json
import re
import time
from html.parser import HTMLParser
from urllib.error import HTTPError
from urllib.parse import urljoin
from urllib.request import urlopen

try:
    from pumasi import script
except ImportError:
    script = None

TRIES = 4


class Page(HTMLParser):
    """The links of a page by what they are, and its texts by the class of their element."""

    def __init__(self, html):
        super().__init__()
        self.links, self.texts, self.rating = {}, {}, None
        self._open = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        classes = (attributes.get("class") or "").split()
        if tag == "a":
            inside = "product" if "product" in self._classes() else attributes.get("rel") or ""
            self.links.setdefault(inside, []).append(attributes["href"])
        if "rating" in classes:
            self.rating = float(attributes["data-value"])
        if tag not in ("meta", "br", "img"):
            self._open.append((tag, classes))

    def handle_endtag(self, tag):
        if self._open and self._open[-1][0] == tag:
            self._open.pop()

    def handle_data(self, data):
        if self._open:
            tag, classes = self._open[-1]
            for name in (tag, *classes):
                self.texts[name] = self.texts.get(name, "") + data.strip()

    def _classes(self):
        return {name for _, classes in self._open for name in classes}


def fetch(url):
    """A page; a server that stumbles is asked again, a little later each time."""
    for attempt in range(1, TRIES + 1):
        try:
            with urlopen(url, timeout=30) as answer:
                return Page(answer.read().decode())
        except HTTPError as error:
            error.close()
            if error.code < 500 or attempt == TRIES:
                raise
            time.sleep(0.05 * 2**attempt)
    raise AssertionError("unreachable")


def product(url):
    """What the page of a product says."""
    page = fetch(url)
    return {
        "name": page.texts["h1"],
        "price": int(re.sub(r"\D", "", page.texts["price"])),
        "available": "no" not in page.texts,
        "rating": page.rating,
        "sku": page.texts["sku"],
        "url": url,
    }


def product_links(base_url, category):
    """Addresses of all products of a category, page after page."""
    url, links = urljoin(base_url, f"/category/{category}"), []
    while url:
        page = fetch(url)
        links += [urljoin(url, link) for link in page.links.get("product", [])]
        following = page.links.get("next")
        url = urljoin(url, following[0]) if following else None
    return links


def scrape(base_url, category, limit=None):
    """Everything in a category, and the figures people ask for."""
    links = product_links(base_url, category)[:limit]
    products = []
    for number, link in enumerate(links, 1):
        products.append(product(link))
        if script:
            script.progress(number, len(links), products[-1]["name"])
    prices = [item["price"] for item in products]
    return {
        "category": category,
        "products": len(products),
        "available": sum(item["available"] for item in products),
        "average_price": round(sum(prices) / len(prices)) if prices else None,
        "cheapest": min(products, key=lambda item: item["price"], default=None),
        "items": products,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parameters", type=json.loads, default={}, help="base_url, category, limit as a JSON object")
    parameters = parser.parse_args().parameters
    print(json.dumps(scrape(**parameters), ensure_ascii=False))


if __name__ == "__main__":
    main()
