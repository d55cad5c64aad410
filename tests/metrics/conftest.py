"""What a Prometheus server would see."""

from __future__ import annotations

import asyncio
import urllib.request

from prometheus_client.parser import text_string_to_metric_families


class Scrape:
    """One answer of an endpoint, read as Prometheus reads it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families = {family.name: family for family in text_string_to_metric_families(text)}

    def value(self, name: str, **labels: str) -> float | None:
        """A sample's value; None if there is none with exactly these labels."""
        for family in self.families.values():
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        return None


def scrape(url: str) -> Scrape:
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.status == 200
        return Scrape(answer.read().decode())


async def scraped(url: str, *, until: tuple[str, dict[str, str], float]) -> Scrape:
    """Scrape again and again until a sample has the value it should get."""
    name, labels, wanted = until
    async with asyncio.timeout(60):
        while True:
            try:
                found = await asyncio.to_thread(scrape, url)
            except OSError:  # not there yet
                found = Scrape("")
            if found.value(name, **labels) == wanted:
                return found
            await asyncio.sleep(0.1)
