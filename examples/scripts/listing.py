"""The products on one page of a category: a `main` whose parameters are the job's, and whose value is the result.

pumasi submit listing --param base_url=http://127.0.0.1:8080 --param category=tea --param page=2 --wait
"""

import re
from html import unescape
from urllib.request import urlopen


def main(base_url: str, category: str, page: int = 1) -> list[dict[str, object]]:
    with urlopen(f"{base_url}/category/{category}?page={page}", timeout=30) as answer:
        html = answer.read().decode()
    found = re.findall(r'<a href="(/product/\d+)">([^<]+)</a> <span class="price">₩([\d,]+)</span>', html)
    return [{"name": unescape(name), "price": int(price.replace(",", "")), "path": path} for path, name, price in found]
