"""How many planted bugs the tests notice: a seeded sample of mutants, each against its tests.

    python tests/mutation_audit.py [--count 300] [--seed 0] [--workers 2] [--out DIR]
                                    [--only PATH --tests FOLDER]

mutmut's operators plant one small bug at a time in a copy of the project (package, tools, configs);
the tests that coverage.py saw at that line run against it, quick ones first. A bug is noticed when
one of them fails or does not end, and the same tests in the same order pass without the bug: a test
that fails there too ("unsound") depends on the order, and notices nothing. Left out of the sample:
docstrings, type annotations, decorated functions (mutmut leaves them out), and prose (strings with
spaces: messages and help texts).
``tests/equivalent_mutants.txt`` lists, with reasons, mutants that change nothing a user could see.

An interrupted audit goes on where it stopped; ``--table`` only prints what is there.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
EQUIVALENT = ROOT / 'tests' / 'equivalent_mutants.txt'
PLACES = ('fastervit_mm', 'tools', 'configs')
BUDGET = 45.0  # s of tests, as timed without a mutant, that one mutant is given
SLOWEST = 30.0  # s: a test above it is left to the others
HANGS = 4.0  # times its budget (and a start) that a mutant's tests may take
START = 60.0  # s
NOTICED = ('noticed', 'hung')
LEAST = 12  # mutants of a folder, where it has so many
PRELOADED = (
    'hypothesis',
    'mmdet.apis',
    'mmdet.models',
    'mmengine.runner',
    'mmseg.apis',
    'mmseg.models',
    'pycocotools.cocoeval',
    'pytest',
    'timm',
)
TESTED_BY = {'configs': 'tests/configs/'}  # what coverage cannot see: mmengine runs a copy of them


class Mutant(NamedTuple):
    """One planted bug.

    Attributes:
        path: file, from the project's root.
        number: of the mutation within the file.
        line: first line that differs, from 1.
        before, after: what stood there and what stands there now.
    """

    path: str
    number: int
    line: int
    before: str
    after: str

    @property
    def key(self) -> str:
        return f'{self.path}: {self.before} -> {self.after}'


def folder_of(path: Path) -> str:
    """What ``path`` is counted with: its room of the package, tools, or configs."""
    parts = path.parts
    return '/'.join(parts[:2]) if parts[0] == PLACES[0] and len(parts) > 2 else parts[0]


def found_in(path: Path) -> tuple[Any, list[tuple[int, Any]]]:
    """A file's syntax tree, and its mutations, each with its first line."""
    import libcst
    from libcst.metadata import MetadataWrapper, PositionProvider
    from mutmut.mutation.file_mutation import MutationVisitor
    from mutmut.mutation.mutators import mutation_operators
    from mutmut.mutation.pragma_handling import IgnoredCode

    wrapper = MetadataWrapper(libcst.parse_module(path.read_text()))
    visitor = MutationVisitor(mutation_operators, IgnoredCode(set(), set(), set()))
    module = wrapper.visit(visitor)
    positions = wrapper.resolve(PositionProvider)
    return module, [(_line(m.original_node, positions), m) for m in visitor.mutations]


def _line(node: Any, positions: Any) -> int:
    """First line of ``node``; an operator has no position of its own: that of what it stands in."""
    found = [positions[n] for n in (node, *_below(node)) if n in positions]
    return found[0].start.line if found else 0


def _below(node: Any) -> Iterator[Any]:
    for child in node.children:
        yield child
        yield from _below(child)


def is_prose(mutation: Any) -> bool:
    """Whether a message or a help text was changed: a string with spaces."""
    import libcst

    node = mutation.original_node
    return isinstance(node, libcst.SimpleString) and ' ' in node.value.strip('\'"')


def planted(path: Path, number: int) -> str:
    """The text of ``path`` with its mutation ``number``."""
    module, found = found_in(path)
    return module.deep_replace(found[number][1].original_node, found[number][1].mutated_node).code


def describe(path: Path, number: int) -> Mutant | None:
    """What mutation ``number`` changes; None: nothing."""
    old, new = path.read_text().splitlines(), planted(path, number).splitlines()
    for tag, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag != 'equal':
            before, after = (' '.join(' '.join(part).split()) for part in (old[a:b], new[c:d]))
            return Mutant(str(path.relative_to(ROOT)), number, a + 1, before, after)
    return None


def draw_sample(count: int, seed: int, only: str = '') -> list[Mutant]:
    """About ``count`` mutants, at most one for a line, every folder with its share.

    Args:
        count: in all.
        seed: of the draw.
        only: paths begin with it.
    """
    by_folder: dict[str, list[tuple[Path, int]]] = defaultdict(list)
    for place in PLACES:
        for path in sorted((ROOT / place).rglob('*.py')):
            named = str(path.relative_to(ROOT))
            if '.mim' in path.parts or not named.startswith(only):
                continue
            lines: dict[int, list[int]] = defaultdict(list)
            for number, (line, mutation) in enumerate(found_in(path)[1]):
                if not is_prose(mutation):
                    lines[line].append(number)
            draw = random.Random(f'{seed} {path.relative_to(ROOT)}')
            for numbers in lines.values():
                by_folder[folder_of(path.relative_to(ROOT))].append((path, draw.choice(numbers)))
    total = sum(map(len, by_folder.values()))
    sample = []
    for folder, found in sorted(by_folder.items()):
        share = max(LEAST, round(count * len(found) / total))
        draw = random.Random(f'{seed} {folder}')
        for path, number in draw.sample(found, min(share, len(found))):
            sample.append(describe(path, number))
    return [mutant for mutant in sample if mutant is not None]


def copy_project(target: Path) -> None:
    """The files that git knows, with changes, and what tests read beside them."""
    shutil.rmtree(target, ignore_errors=True)
    names = subprocess.run(
        ['git', 'ls-files', '-co', '--exclude-standard'], cwd=ROOT, capture_output=True, text=True
    )
    for name in names.stdout.splitlines():
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    subprocess.run(['git', 'init', '-q'], cwd=target)
    subprocess.run(['git', 'add', '-A'], cwd=target)


def environment(copy: Path) -> dict[str, str]:
    data = os.environ.get('FASTERVIT_MM_TEST_DATA', str(ROOT.parent / 'shared' / 'data'))
    return dict(
        os.environ,
        PYTHONPATH=str(copy),
        FASTERVIT_MM_TEST_DATA=data,
        OMP_NUM_THREADS='1',
        PYTHONDONTWRITEBYTECODE='1',
    )


def watch_tests(copy: Path, workers: int, tests: str) -> dict[str, Any]:
    """Which tests pass each line, and how long each takes: one run of them under coverage.

    Raises:
        SystemExit: the suite fails without any mutant.
    """
    (copy / '.coveragerc').write_text(
        '[run]\nsource = .\nrelative_files = true\nomit = tests/*,setup.py\n'
    )
    command = [
        sys.executable,
        '-m',
        'pytest',
        tests,
        '-q',
        '-m',
        'not long',
        '-p',
        'no:cacheprovider',
    ]
    command += ['--cov', '--cov-context=test', '--cov-report=', '--junit-xml=durations.xml']
    command += ['-n', str(workers)] if workers > 1 else []
    if subprocess.run(command, cwd=copy, env=environment(copy)).returncode:
        sys.exit('the tests fail before anything is planted')
    from xml.etree import ElementTree

    from coverage import CoverageData

    seconds: dict[str, float] = {}
    for case in ElementTree.parse(copy / 'durations.xml').iter('testcase'):
        module = case.get('classname', '').replace('.', '/') + '.py'
        seconds[f'{module}::{case.get("name")}'] = float(case.get('time', 0))
    data = CoverageData(str(copy / '.coverage'))
    data.read()
    lines: dict[str, dict[str, list[str]]] = {}
    for file in data.measured_files():
        lines[file] = {str(line): names for line, names in data.contexts_by_lineno(file).items()}
    return dict(seconds=seconds, lines=lines)


def tests_naming(module: str) -> list[Path]:
    """Test files that import from ``module``."""
    files = (ROOT / 'tests').rglob('test_*.py')
    return [path for path in files if re.search(rf'{re.escape(module)}\b', path.read_text())]


def tests_for(mutant: Mutant, seen: dict[str, Any]) -> list[str]:
    """Tests to run against ``mutant``, quick ones first, up to the budget.

    A line that a fixture's set-up passes concerns all tests of that module; one that only an import
    passes concerns all tests that pass the file or import from it.
    """
    seconds: dict[str, float] = seen['seconds']
    place = Path(mutant.path).parts[0]
    chosen: set[str] = set()
    if place in TESTED_BY:
        chosen |= {name for name in seconds if name.startswith(TESTED_BY[place])}
    contexts = seen['lines'].get(mutant.path, {})
    module = '.'.join(Path(mutant.path).with_suffix('').parts)
    naming = {str(p.relative_to(ROOT)) for p in tests_naming(module)}
    end = mutant.line + mutant.before.count('\n')
    near = [c for line in range(mutant.line, end + 3) for c in contexts.get(str(line), [])]
    if not any('|' in c for c in near):
        near = [c for names in contexts.values() for c in names]
        chosen |= {name for name in seconds if name.partition('::')[0] in naming}
    for context in near:
        name, _, phase = context.partition('|')
        if phase == 'run':
            chosen.add(name)
        elif phase == 'setup':
            module = name.partition('::')[0]
            chosen |= {other for other in seconds if other.startswith(module + '::')}
    if not chosen:  # constants, or passed in processes of their own only
        folder = Path('tests', *Path(mutant.path).parent.parts[place == PLACES[0] :])
        chosen = {name for name in seconds if Path(name).is_relative_to(folder)}
        chosen |= {name for name in seconds if name.partition('::')[0] in naming}
    picked, total = [], 0.0
    for name in sorted((n for n in chosen if n in seconds), key=lambda n: seconds[n]):
        if seconds[name] > SLOWEST or total + seconds[name] > BUDGET:
            break
        picked.append(name)
        total += seconds[name]
    return picked


def preload() -> None:
    """Import what every test needs and no mutant touches, once for all mutants."""
    for name in PRELOADED:
        importlib.import_module(name)


def run_tests(names: list[str], copy: Path, log: Path, limit: float) -> str:
    """'noticed', 'hung' or 'unnoticed', from tests in a fork of this process."""
    child = os.fork()
    if child == 0:
        os.setsid()
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(copy)
        os.environ.update(environment(copy))
        sys.path[:0] = [str(copy)]
        import pytest

        options = ['-x', '-q', '-p', 'no:cacheprovider', '-p', 'no:xdist', '-p', 'no:cov']
        os._exit(int(pytest.main([*options, '--durations=0', *names])))
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return 'unnoticed' if status == 0 else 'noticed'
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return 'hung'


def through_failure(names: list[str], log: str) -> list[str]:
    """The tests up to the one that pytest's summary names; all, when it names none of them."""
    for i, name in enumerate(names):
        if any(f'{word} {name}' in log for word in ('FAILED', 'ERROR')):
            return names[: i + 1]
    return names


def work(number: int, args: argparse.Namespace) -> None:
    """Every ``args.workers``-th mutant of the sample."""
    copy = args.out / f'copy{number}'
    seen = json.loads((args.out / 'tests.json').read_text())
    sample = [Mutant(*entry) for entry in json.loads((args.out / 'sample.json').read_text())]
    results = args.out / f'results{number}.jsonl'
    done = {e['key'] for e in read_results(args.out)}
    mine = [m for m in sample[number :: args.workers] if f'{m.key} #{m.number}' not in done]
    subprocess.run(['git', 'checkout-index', '-af'], cwd=copy)  # as it was, after an interruption
    sys.path = [entry for entry in sys.path if Path(entry or '.').resolve() != ROOT]
    preload()
    for i, mutant in enumerate(mine, 1):
        file = copy / mutant.path
        original, names = file.read_text(), tests_for(mutant, seen)
        began = time.monotonic()
        limit = START + HANGS * sum(seen['seconds'][name] for name in names)
        log = args.out / f'log{number}.txt'
        try:
            file.write_text(planted(file, mutant.number))
            result = run_tests(names, copy, log, limit) if names else 'untested'
        finally:
            file.write_text(original)
        if result == 'noticed':
            names = through_failure(names, log.read_text())
        if result in NOTICED and run_tests(names, copy, log, limit) != 'unnoticed':
            shutil.copy(log, args.out / f'unsound{number}_{i}.txt')
            result = 'unsound'
        entry = dict(key=f'{mutant.key} #{mutant.number}', result=result, tests=len(names))
        entry |= dict(seconds=round(time.monotonic() - began, 1))
        with results.open('a') as out:
            out.write(json.dumps(entry | mutant._asdict()) + '\n')
        left = (len(mine) - i) * 10 / 60
        print(
            f'[{number}] {i}/{len(mine)} {result:9} {mutant.key[:110]} (about {left:.0f} min)',
            flush=True,
        )


def read_results(out: Path) -> list[dict]:
    return [
        json.loads(li)
        for f in sorted(out.glob('results*.jsonl'))
        for li in f.read_text().splitlines()
    ]


def equivalents() -> set[str]:
    """Keys of the mutants that are known to change nothing."""
    if not EQUIVALENT.is_file():
        return set()
    lines = EQUIVALENT.read_text().splitlines()
    return {line.strip() for line in lines if line.strip() and not line.startswith('#')}


def table(out: Path) -> tuple[str, list[dict]]:
    """A Markdown table by folder, and the mutants that went unnoticed."""
    known = equivalents()
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    unnoticed = []
    for entry in read_results(out):
        mutant = Mutant(*(entry[name] for name in Mutant._fields))
        row = counts[folder_of(Path(mutant.path))]
        if entry['result'] not in NOTICED and mutant.key in known:
            row[2] += 1
            continue
        row[0] += 1
        row[1] += entry['result'] in NOTICED
        if entry['result'] not in NOTICED:
            unnoticed.append(entry)
    lines = [
        '| folder | mutants | noticed | share | equivalent |',
        '| --- | ---: | ---: | ---: | ---: |',
    ]
    total = [sum(row[i] for row in counts.values()) for i in range(3)]
    for name, (planted_, noticed, same) in [*sorted(counts.items()), ('**all**', total)]:
        share = f'{100 * noticed / planted_:.0f} %' if planted_ else '–'
        lines.append(f'| {name} | {planted_} | {noticed} | {share} | {same} |')
    return '\n'.join(lines), unnoticed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--count', type=int, default=300, help='mutants in the sample')
    parser.add_argument('--seed', type=int, default=0, help='of the sample')
    parser.add_argument('--only', default='', help='mutants of paths that begin so')
    parser.add_argument('--tests', default='tests', help='those that are run')
    parser.add_argument('--workers', type=int, default=2, help='processes')
    parser.add_argument('--out', type=Path, default=ROOT / 'work_dirs' / 'audit')
    parser.add_argument('--table', action='store_true', help='only print what was found')
    parser.add_argument('--worker', type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.out = args.out.resolve()
    if args.worker is not None:
        return work(args.worker, args)
    if not args.table:
        args.out.mkdir(parents=True, exist_ok=True)
        if not (args.out / 'tests.json').is_file():
            for number in range(args.workers):
                copy_project(args.out / f'copy{number}')
            seen = watch_tests(args.out / 'copy0', args.workers, args.tests)
            (args.out / 'tests.json').write_text(json.dumps(seen))
        if not (args.out / 'sample.json').is_file():
            sample = draw_sample(args.count, args.seed, args.only)
            (args.out / 'sample.json').write_text(json.dumps(sample))
        command = [sys.executable, __file__, '--out', str(args.out), '--workers', str(args.workers)]
        running = [
            subprocess.Popen([*command, '--worker', str(i)], env=environment(args.out / f'copy{i}'))
            for i in range(args.workers)
        ]
        for process in running:
            process.wait()
    text, unnoticed = table(args.out)
    for entry in unnoticed:
        print(
            f'{entry["result"]}: {entry["path"]}:{entry["line"]}\n  {entry["before"]}\n  {entry["after"]}'
        )
    print(text)


if __name__ == '__main__':
    main()
