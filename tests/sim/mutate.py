"""Who notices when the core is wrong?

Breaks the core by hand, one way at a time, as tests/sim/mutations has it, and runs the simulation on each, and the core's
unit tests on what the simulation did not notice: a check that cannot fail is no check. A mutation survives that only a
unit test notices, unless its block says why the simulation cannot. Whoever changes the core moves the list along: a
mutation whose text is not there any more, or is there twice, is an error, too.

Takes some seconds for each mutation, in copies of the tree, so it is not part of the ordinary test run; of that is only
`--check`. Exit status: 0 when all are killed, 1 when one survives, does not build or is not found, 2 for wrong usage."""
import argparse
import concurrent.futures
import os
import pathlib
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
TREE = HERE.parent.parent
FOLDERS = ('job', 'dispatch', 'settle', 'drain')
SIMULATION_S = 300  # longer is a hang; the simulation's own alarm is sooner
UNIT_TEST_S = 20


class Mutation:
    """A block of the list: what is there, what shall be there instead, and why only a unit test sees it, if so."""

    def __init__(self, name, line):
        self.name, self.line = name, line
        self.file = self.unit_only = None
        self.there, self.instead = [], []

    def add(self, text):
        sign, rest = text[:1], text[1:]
        if sign in (' ', '-'):
            self.there.append(rest)
        if sign in (' ', '+'):
            self.instead.append(rest)

    def found(self, source):
        """How often its text stands in the file, as whole lines."""
        return ('\n' + source).count('\n' + '\n'.join(self.there) + '\n')

    def applied(self, source):
        there, instead = ('\n'.join(['', *lines, '']) for lines in (self.there, self.instead))
        return ('\n' + source).replace(there, instead or '\n', 1)[1:]


def read_list(path):
    mutations = []
    for number, text in enumerate(path.read_text().splitlines(), 1):
        if text.startswith('= '):
            mutations.append(Mutation(text[2:], number))
        elif text.startswith('unit: '):
            mutations[-1].unit_only = text[6:]
        elif text[:1] in ('-', '+', ' '):
            mutations[-1].add(text)
        elif text and not text.startswith('#'):
            mutations[-1].file = text
    return mutations


def complaints(mutations):
    names = set()
    for m in mutations:
        where = f'tests/sim/mutations:{m.line}: "{m.name}"'
        if m.name in names:
            yield f'{where}: a name of two'
        names.add(m.name)
        path = TREE / (m.file or 'no file')
        times = m.found(path.read_text()) if m.there and path.is_file() else 0
        if times != 1:
            yield f'{where}: its lines are in {m.file} {times} times, not once; move them along with the code'


class Copy:
    """A copy of the tree with a build of its own, for one mutation after the other."""

    def __init__(self, folder):
        self.folder = folder
        self.build = folder / 'build'
        listed = subprocess.run(['git', '-C', TREE, 'ls-files', '-z', '--cached', '--others', '--exclude-standard'],
                                check=True, capture_output=True, text=True).stdout
        for name in filter(None, listed.split('\0')):
            if (TREE / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(TREE / name, folder / name)
        self.units = sorted(f'unit_{part}_{test.stem}' for part in FOLDERS
                            for test in (folder / 'tests/unit' / part).glob('test_*.c'))
        self.run(['cmake', '-S', folder, '-B', self.build, '-G', 'Ninja', '--log-level=WARNING'], check=True)

    def run(self, command, check=False, timeout=None):
        env = dict(os.environ, CCACHE_BASEDIR=str(self.folder))
        if shutil.which('ccache'):
            env.setdefault('CMAKE_C_COMPILER_LAUNCHER', 'ccache')
        return subprocess.run(command, check=check, timeout=timeout, env=env, errors='replace',
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def make(self, *targets):
        return self.run(['ninja', '-C', self.build, *targets])

    def simulation(self, seeds):
        """None, or at which seed it broke."""
        try:
            ended = self.run([self.build / 'tests/sim/sim', '--brief', '1', str(seeds)], timeout=SIMULATION_S)
        except subprocess.TimeoutExpired:
            return 'hangs'
        said = re.search(r'^seed (\d+)[^\n]*?: ([^\n]*)', ended.stdout, re.M)
        if ended.returncode == 0:
            return None
        return f'seed {said[1]}: {said[2]}' if said else f'status {ended.returncode}'

    def unit_tests(self):
        """The names of those that fail."""
        return [name for unit in self.units for name in self.unit_test(unit)]

    def unit_test(self, unit):
        file = unit.split('_', 1)[1].replace('_test_', '/', 1)
        try:
            ended = self.run([self.build / 'tests' / unit], timeout=UNIT_TEST_S)
        except subprocess.TimeoutExpired:
            return [f'{file} hangs']
        if ended.returncode == 0:
            return []
        failed = dict.fromkeys(re.findall(r'^\[  FAILED  \] (\w+)$', ended.stdout, re.M))
        return [f'{file}.{name}' for name in failed] or [f'{file} dies']

    def judge(self, mutation, seeds, both):
        """(built, what the simulation said, what unit tests failed; these are not asked if it said something)"""
        path = self.folder / mutation.file
        before = path.read_text()
        path.write_text(mutation.applied(before))
        try:
            made = self.make('sim')
            noticed = self.simulation(seeds) if made.returncode == 0 else None
            if made.returncode == 0 and (both or noticed is None):
                made = self.make(*self.units)
            if made.returncode != 0:
                return False, made.stdout, []
            return True, noticed, [] if noticed and not both else self.unit_tests()
        finally:
            path.write_text(before)


def verdict(mutation, built, simulation, units):
    """(whether that will do, the lines that say so)"""
    if not built:
        return False, [f'NOT BUILT  {mutation.name}', simulation]
    who = ([simulation] if simulation else []) + units[:3] + (['...'] if len(units) > 3 else [])
    if simulation:
        return True, [f'killed     {mutation.name}', f'           by {"; ".join(who)}']
    if not units:
        return False, [f'SURVIVED   {mutation.name}']
    if mutation.unit_only is None:
        return False, [f'UNIT ONLY  {mutation.name}', f'           by {"; ".join(who)}, and nothing says why']
    return True, [f'killed     {mutation.name}', f'           by {"; ".join(who)}',
                  f'           the simulation cannot: {mutation.unit_only}']


def whole_copies(folders, seeds):
    """The copies, if nobody complains of them as they are."""
    copies = queue.SimpleQueue()
    with concurrent.futures.ThreadPoolExecutor(len(folders)) as pool:
        for copy in pool.map(Copy, folders):
            copies.put(copy)
    copy = copies.get()
    made = copy.make('sim', *copy.units)
    if made.returncode != 0:
        sys.exit(made.stdout)
    broken = [copy.simulation(min(seeds, 2000)), *copy.unit_tests()]
    if any(broken):
        sys.exit(f'mutate: the tree as it is does not pass: {broken}')
    copies.put(copy)
    return copies


def run(mutations, copies, jobs, seeds, both):
    def judged(mutation):
        copy = copies.get()
        try:
            return verdict(mutation, *copy.judge(mutation, seeds, both))
        finally:
            copies.put(copy)

    bad = 0
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for good, lines in pool.map(judged, mutations):
            bad += not good
            print('\n'.join(lines), flush=True)
    print(f'{len(mutations)} mutations, {len(mutations) - bad} killed' + (f', {bad} NOT' if bad else ''))
    return 1 if bad else 0


def main():
    parser = argparse.ArgumentParser(prog='mutate.sh', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('words', nargs='*', help='only mutations whose name has one of these in it')
    parser.add_argument('--check', action='store_true', help='only see that each text is found exactly once')
    parser.add_argument('--both', action='store_true', help='ask the unit tests, too, where the simulation noticed')
    parser.add_argument('--list', action='store_true', help='only print the names')
    parser.add_argument('--seeds', type=int, default=20000, help='schedules for each (20000); it ends at the first '
                        'that breaks')
    parser.add_argument('-j', '--jobs', type=int, default=os.cpu_count(), help='so many at a time (one for each core)')
    asked = parser.parse_args()
    mutations = [m for m in read_list(HERE / 'mutations')
                 if not asked.words or any(word in m.name for word in asked.words)]
    if asked.list:
        print('\n'.join(m.name for m in mutations))
        return 0
    lost = list(complaints(mutations))
    if lost:
        print('\n'.join(lost), file=sys.stderr)
        return 1
    if asked.check or not mutations:
        print(f'{len(mutations)} mutations, each found once')
        return 0 if mutations else 2
    jobs = min(asked.jobs, len(mutations))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix='outfall-mutate.') as scratch:
        folders = [pathlib.Path(scratch, str(i)) for i in range(jobs)]
        return run(mutations, whole_copies(folders, asked.seeds), jobs, asked.seeds, asked.both)


if __name__ == '__main__':
    sys.exit(main())
