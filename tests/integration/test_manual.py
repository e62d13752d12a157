"""The manual pages and the shell's completion: they can be read, and know every word that the program knows."""

import re
import subprocess
import unittest
from pathlib import Path

from worker import BUILD, OUTFALL

TOP = Path(__file__).resolve().parents[2]
PAGES = {
    "outfall.1": TOP / "config/man/outfall.1",
    "outfall.conf.5": BUILD / "man/outfall.conf.5",
    "outfall-handlers.7": BUILD / "man/outfall-handlers.7",
}
COMMANDS = ("run", "check", "enqueue", "ctl")


def rendered(path, warnings=False):
    command = ["groff", "-mandoc", "-Tascii", "-P-cbou", *(["-ww"] if warnings else []), str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True)


def options_of(command):
    text = subprocess.run([OUTFALL, command, "--help"], capture_output=True, text=True).stdout
    return set(re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", text))


class Manual(unittest.TestCase):
    def test_every_page_is_without_warning(self):
        for name, path in PAGES.items():
            with self.subTest(name):
                result = rendered(path, warnings=True)
                self.assertEqual(result.stderr, "")
                self.assertGreater(len(result.stdout.splitlines()), 100)
                for mark in ("`", "**", "|---"):
                    self.assertNotIn(mark, result.stdout)

    def test_every_option_is_told_of(self):
        text = rendered(PAGES["outfall.1"]).stdout
        for command in COMMANDS:
            for option in options_of(command):
                self.assertIn(option, text, command)

    def test_every_key_is_told_of(self):
        text = rendered(PAGES["outfall.conf.5"]).stdout
        keys = re.findall(r"^\| `(\w+)` \|", (TOP / "config/outfall.conf.md").read_text(), re.M)
        self.assertGreater(len(keys), 50)
        for key in keys:
            self.assertRegex(text, rf"(?m)^ +{key}\b")


class Completion(unittest.TestCase):
    def complete(self, *words):
        """What bash offers for the last of the words."""
        script = (
            f'. "{TOP}/config/completion/outfall.bash"\n'
            'COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()\n_outfall\n'
            '[ ${#COMPREPLY[@]} -eq 0 ] || printf "%s\\n" "${COMPREPLY[@]}"\n'
        )
        command = ["bash", "-uec", script, "bash", "outfall", *words]
        result = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        return set(result.stdout.split())

    def test_commands(self):
        self.assertEqual(self.complete("e"), {"enqueue"})
        self.assertEqual(self.complete("ctl", "re"), {"resume", "reload"})
        self.assertEqual(self.complete("ctl", "-s", "ctl", "re"), {"resume", "reload"})
        self.assertEqual(self.complete("run", ""), {"-c", "--config", "-h", "--help"})

    def test_every_option_is_offered(self):
        for command in COMMANDS:
            offered = self.complete(command, "-") | self.complete(command, "drain", "-")
            self.assertLessEqual(options_of(command), offered, command)

    def test_files_where_a_file_is_wanted(self):
        config = f"{TOP}/config/outfall.con"
        self.assertIn(f"{TOP}/config/outfall.conf", self.complete("run", "-c", config))
        self.assertEqual(self.complete("enqueue", "--body", ""), set())


if __name__ == "__main__":
    unittest.main(verbosity=2)
