#!/usr/bin/env python3
"""Follow the links of a site and report those that are broken.

A script from long before Pumasi, left as it was: options of its own, a report for people, an exit code for programs.

    pumasi submit link_check --wait -- http://127.0.0.1:8080 --depth 1
"""

import argparse
import re
import sys
import urllib.error
import urllib.parse
import urllib.request


def links(url, timeout):
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        html = answer.read().decode(errors="replace")
    return {urllib.parse.urljoin(url, found) for found in re.findall(r'href="([^"#]+)"', html)}


def check(url, timeout):
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def main():
    parser = argparse.ArgumentParser(description="Report broken links.")
    parser.add_argument("url")
    parser.add_argument("--depth", type=int, default=1, help="how many steps to follow from the first page")
    parser.add_argument("--timeout", type=float, default=10.0)
    parser.add_argument("--max-broken", type=int, default=0, help="fail when there are more")
    options = parser.parse_args()

    host = urllib.parse.urlsplit(options.url).netloc
    seen, layer, broken = {options.url}, [options.url], []
    for _ in range(options.depth):
        found = sorted(set().union(*(links(url, options.timeout) for url in layer)) - seen)
        seen.update(found)
        layer = []
        for url in found:
            if urllib.parse.urlsplit(url).netloc != host:
                continue
            status = check(url, options.timeout)
            print(f"{status} {url}")
            if status >= 400:
                broken.append(url)
            else:
                layer.append(url)
    print(f"{len(seen)} links, {len(broken)} broken")
    if len(broken) > options.max_broken:
        print("broken: " + ", ".join(broken), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
