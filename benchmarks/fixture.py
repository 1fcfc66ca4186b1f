"""What the systems are given to do: two scripts and a page, the same bytes every time."""

import random
import shutil
from pathlib import Path

ITEMS = 200
WORDS = ("red", "blue", "small", "large", "old", "new", "round", "plain", "heavy", "light")
HERE = Path(__file__).parent
#: script name as Pumasi knows it, and the file that others run
SCRIPTS = {"noop": "noop.py", "scrape": "scrape/main.py"}


def write(folder: Path) -> Path:
    """The scripts, with their page, in `folder`; gives it back."""
    shutil.copytree(HERE / "scripts", folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "scrape" / "items.html").write_text(page())
    return folder


def page() -> str:
    """A page of 200 items with the usual wrapping round them."""
    chance = random.Random("items")
    cards = "\n".join(_card(number, chance) for number in range(ITEMS))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Items</title>'
        f"<style>{'.a{color:red}' * 40}</style></head><body><header><nav>{'<a href=/>Home</a>' * 12}</nav></header>"
        f'<main><section class="grid">\n{cards}\n</section></main>'
        f"<footer>{'<p>fine print</p>' * 8}</footer></body></html>"
    )


def _card(number: int, chance: random.Random) -> str:
    words = " ".join(chance.choice(WORDS) for _ in range(3))
    tags = "".join(f'<span class="tag">tag{chance.randrange(30)}</span>' for _ in range(chance.randrange(1, 5)))
    state = " sold-out" if chance.random() < 0.2 else ""
    return (
        f'<article class="card{state}" data-id="{number}">'
        f'<a href="/item/{number}"><img src="/img/{number}.jpg" alt=""></a><div class="body">'
        f'<h2> {words} thing {number} </h2><p class="price">₩{chance.randrange(10, 9000) * 100:,}</p>'
        f'<div class="tags">{tags}</div><p>{"Lorem ipsum dolor sit amet. " * 3}</p></div></article>'
    )
