"""What docs/serving.md quotes as messages is what the code says; its remedies name options and metrics that exist."""
import os
import re
import unittest

from tree import ROOT

QUOTE = re.compile(r"`([^`]+)`")
SHORTEST = 10  # Of a message's constant part; what is shorter would be found anywhere.


def read(*parts):
    with open(os.path.join(ROOT, *parts), encoding="utf-8") as file:
        return file.read()


def sources():
    """All shipped source text, with literals that the compiler would join joined."""
    paths = [os.path.join(folder, name) for top in ("src", "python/reprise")
             for folder, _, files in os.walk(os.path.join(ROOT, top)) for name in files]
    shipped = [path for path in paths if path.endswith((".cc", ".h", ".py")) and not path.endswith("_test.cc")]
    return "\n".join(re.sub(r'"\s*f?"', "", read(path)) for path in shipped)


def rows(text):
    """The cells of the table under Troubleshooting, row by row, without its head."""
    table = text[text.index("## Troubleshooting"):]
    lines = [line for line in table.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def parts_of(message):
    return [part.strip() for part in message.split("…") if part.strip()]


class Troubleshooting(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.code = sources()
        cls.rows = rows(read("docs", "serving.md"))

    def test_the_messages_exist(self):
        quoted = [message for row in self.rows for message in QUOTE.findall(row[0])]
        self.assertGreater(len(quoted), 15)
        for message in quoted:
            self.assertTrue(any(len(part) >= SHORTEST for part in parts_of(message)), message)
            for part in parts_of(message):
                constant = part.removeprefix("reprise_").removesuffix("_total")
                self.assertTrue(part in self.code or constant in self.code, f"no source says '{part}'")

    def test_every_row_says_where_to_look_and_what_to_do(self):
        for row in self.rows:
            self.assertEqual(len(row), 3, row)
            self.assertTrue(all(row), row)

    def test_options_and_metrics_exist(self):
        options = read("docs", "configuration.md")
        metrics = read("docs", "metrics.md")
        text = read("docs", "serving.md")
        for option in set(re.findall(r"`((?:l1|l2|allow|server|listen|tls|auth)\.[a-z-]+)[ `]", text)):
            self.assertIn(f"| `{option}` |", options)
        for metric in set(re.findall(r"`(reprise_[a-z_]+_total)`", text)):
            self.assertIn(f"| `{metric}` |", metrics)

    def test_the_test_can_fail(self):
        self.assertNotIn("nobody ever says this", self.code)


if __name__ == "__main__":
    unittest.main()
