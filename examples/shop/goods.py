"""What the shop sells: made up from lists and a fixed seed."""

import random
from dataclasses import dataclass
from functools import cache

#: name of a category and how many products it has
CATEGORIES = {"tea": 64, "pottery": 48, "paper": 57, "lamps": 41, "baskets": 36, "knives": 52}

_KINDS = {
    "tea": ("Green tea", "Black tea", "Barley tea", "Mulberry tea", "Yuzu tea", "Roasted rice tea"),
    "pottery": ("Bowl", "Cup", "Plate", "Jar", "Vase", "Teapot"),
    "paper": ("Notebook", "Lantern paper", "Fan", "Envelope set", "Sketch pad", "Wrapping paper"),
    "lamps": ("Desk lamp", "Floor lamp", "Lantern", "Reading light", "Candle holder"),
    "baskets": ("Bread basket", "Market basket", "Laundry basket", "Tray", "Fruit basket"),
    "knives": ("Chef's knife", "Paring knife", "Bread knife", "Cleaver", "Oyster knife", "Whetstone"),
}
_PLACES = ("Boseong", "Icheon", "Jeonju", "Damyang", "Hadong", "Gangneung", "Andong", "Yeongju", "Jeju", "Ganghwa")
_QUALITIES = ("plain", "hand-made", "small", "large", "aged", "first harvest", "blue & white", "unglazed", "everyday")
_SENTENCES = (
    "Made by one family since 1962.",
    "No two are alike.",
    "Wash by hand; it thanks you with a long life.",
    "A favourite of <em>our</em> customers.",
    "Comes in a box of recycled card.",
    "Goes well with everything in the house.",
)


@dataclass(frozen=True)
class Product:
    """One thing to buy; `price` is in won, `rating` from 1 to 5 or None when nobody has rated it."""

    id: int
    category: str
    name: str
    price: int
    stock: int
    rating: float | None
    description: str

    @property
    def path(self) -> str:
        """Where its page is."""
        return f"/product/{self.id}"


@cache
def products() -> tuple[Product, ...]:
    """Everything there is, by category."""
    chance = random.Random("pumasi")
    return tuple(
        _product(1000 + number, category, chance)
        for number, category in enumerate(name for name, count in CATEGORIES.items() for _ in range(count))
    )


def _product(number: int, category: str, chance: random.Random) -> Product:
    kind, place, quality = (chance.choice(options) for options in (_KINDS[category], _PLACES, _QUALITIES))
    return Product(
        id=number,
        category=category,
        name=f"{kind} from {place}, {quality}",
        price=chance.randrange(30, 2400) * 100,
        stock=chance.choice((0, 0, 1, 3, 12, 40, 150)),
        rating=round(chance.uniform(2.5, 5), 1) if chance.random() < 0.85 else None,
        description=" ".join(chance.sample(_SENTENCES, 3)),
    )
