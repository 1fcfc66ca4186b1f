# /// script
# [tool.pumasi]
# preload = ["httpx2", "bs4"]
# ///
"""A scraping script as people write them: a client, a page, a soup; here the page comes from the file beside it."""

import json
from pathlib import Path

import httpx2
from bs4 import BeautifulSoup


def serve(request: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(200, html=(Path(__file__).parent / "items.html").read_text())


def item(card):
    return {
        "name": card.h2.get_text(strip=True),
        "price": int("".join(filter(str.isdigit, card.select_one(".price").get_text()))),
        "link": card.a["href"],
        "tags": [tag.get_text() for tag in card.select(".tag")],
        "available": "sold-out" not in card["class"],
    }


def main():
    with httpx2.Client(transport=httpx2.MockTransport(serve)) as client:
        page = client.get("http://shop.invalid/items").raise_for_status()
    items = [item(card) for card in BeautifulSoup(page.text, "html.parser").select(".card")]
    print(json.dumps({"count": len(items), "total": sum(found["price"] for found in items), "items": items[:3]}))


if __name__ == "__main__":
    main()
