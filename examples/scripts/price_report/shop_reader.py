"""Prices from the shop's pages."""

import re
from urllib.request import urlopen


def prices(base_url, category):
    """All prices of a category, in won."""
    found, page = [], f"/category/{category}"
    while page:
        with urlopen(base_url + page, timeout=30) as answer:
            html = answer.read().decode()
        found += [int(price.replace(",", "")) for price in re.findall(r'class="price">₩([\d,]+)<', html)]
        following = re.search(r'rel="next" href="([^"]+)"', html)
        page = following[1] if following else None
    return found
