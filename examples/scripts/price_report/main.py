"""Look at some categories, write `report.html` as an artifact, and print the figures."""

import json
from pathlib import Path

from figures import summary
from shop_reader import prices

from pumasi import script

DEFAULT = ["tea", "pottery"]


def main():
    base_url = script.params["base_url"]
    categories = script.params.get("categories", DEFAULT)
    figures = {}
    for number, category in enumerate(categories, 1):
        script.progress(number, len(categories), category)
        figures[category] = summary(prices(base_url, category))
    template = (Path(__file__).parent / "template.html").read_text()
    rows = "\n".join(
        f"<tr><th>{name}</th><td>{row['count']}</td><td>{row['lowest']}</td><td>{row['median']}</td></tr>"
        for name, row in figures.items()
    )
    Path("report.html").write_text(template.replace("{rows}", rows))
    script.artifact("report.html")
    script.log("wrote report.html")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
