"""The shop alone, to look at or to scrape by hand."""

import argparse
import contextlib

from . import Shop


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description="A small shop to scrape.")
    parser.add_argument("--port", type=int, default=8080)
    shop = Shop(parser.parse_args().port)
    print(f"the shop is open: {shop.url}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        shop.serve()


if __name__ == "__main__":
    main()
