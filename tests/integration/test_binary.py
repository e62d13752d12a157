"""What the linker and the compiler made of us: hardened, and silent about its own names."""

import platform
import re
import subprocess
import unittest

from worker import OUTFALL


def tool(*words):
    return subprocess.run([*words, OUTFALL], capture_output=True, text=True, check=True).stdout


def exported():
    """Names that a plugin sees, without those of the C library that were copied into us."""
    lines = tool("nm", "-D", "--defined-only").splitlines()
    return {line.split()[-1] for line in lines if "@" not in line}


class Binary(unittest.TestCase):
    def test_plugins_see_what_outfall_h_declares(self):
        header = OUTFALL.parent / "include" / "outfall" / "outfall.h"
        declared = set(re.findall(r"^[a-z].*?\b(outfall_\w+)\(", header.read_text(), re.M))
        self.assertGreater(len(declared), 8)
        self.assertEqual({name for name in exported() if not name.startswith("_")}, declared)

    def test_nothing_is_resolved_late_or_can_be_written_over(self):
        self.assertRegex(tool("readelf", "-hW"), r"Type:\s+DYN")  # at no fixed address
        self.assertRegex(tool("readelf", "-dW"), r"\(FLAGS_1\)\s+Flags:.*\bNOW\b.*\bPIE\b")
        segments = tool("readelf", "-lW")
        self.assertIn("GNU_RELRO", segments)
        [stack] = re.findall(r"GNU_STACK\s+(?:0x\w+\s+){5}(\w+)", segments)
        self.assertEqual(stack, "RW")
        self.assertNotRegex(segments, r"LOAD.* RWE ")

    def test_the_compiler_checks(self):
        wanted = tool("nm", "-D", "--undefined-only")
        self.assertIn("__stack_chk_fail", wanted)
        for name in ("memcpy", "snprintf", "vsnprintf"):
            self.assertRegex(wanted, rf"__{name}_chk\b")

    @unittest.skipUnless(platform.machine() == "x86_64", "indirect branches are marked on x86 only")
    def test_indirect_branches_have_their_marks(self):
        code = tool("objdump", "-d", "--no-show-raw-insn", "--disassemble=outfall_log")
        self.assertRegex(code, r"<outfall_log>:\n\s*[0-9a-f]+:\s+endbr64")


if __name__ == "__main__":
    unittest.main(verbosity=2)
