"""Measure whether carrier tokens help: small trainings of equal schedule on drawn scenes.

    python tools/ablation.py [--work-dir FOLDER] [--quick]
    python tools/ablation.py --page

Trains every network on scenes whose answer depends on something far away and on ordinary ones,
three seeds each, then times them. About 35 minutes on 2 idle cores. Each training is kept in a
file when it is done: an interrupted study goes on where it stopped. The result is table.md and
ablations.png in the folder; ``--page`` trains nothing and writes both into docs/. ``--quick`` is a
trial of a few seconds, whose numbers mean nothing.
"""

import argparse
import json
import shutil
import time
from pathlib import Path

from tqdm import tqdm

from fastervit_mm.ablation.networks import NETWORKS
from fastervit_mm.ablation.study import SEEDS, cases, measure_cost, run_all
from fastervit_mm.ablation.table import draw_plot, main_table, pooling_table
from fastervit_mm.ablation.training import QUICK, Schedule
from fastervit_mm.benchmark.results import machine
from fastervit_mm.config.argument_types import positive_int
from fastervit_mm.errors import FileError, check_folder, exit_on_user_error
from fastervit_mm.weights.whole_writing import write_whole

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / 'docs' / 'ablations.md'
BEGIN, END = '<!-- ablation tables -->', '<!-- end of the ablation tables -->'
QUICK_NETWORKS = ('w7', 'w7_c2')
TABLE, PLOT = 'table.md', 'ablations.png'


def study(folder: Path, jobs: int, quick: bool) -> None:
    """Train what is missing, time the networks, write the tables and the plot."""
    start = time.perf_counter()
    names = QUICK_NETWORKS if quick else tuple(NETWORKS)
    seeds = SEEDS[:1] if quick else SEEDS
    schedule = QUICK if quick else Schedule()
    wanted = list(cases(names, seeds))
    with tqdm(total=len(wanted), unit='trainings') as bar:
        bar.set_description('drawing scenes, training')

        def tell(result: dict) -> None:
            case, scores = result['case'], result['scores']['trained size']
            told = ', '.join(f'{key} {value:.3f}' for key, value in scores.items())
            bar.write(f'{case["network"]:<20} {case["task"]:<9} seed {case["seed"]}: {told}')
            bar.update()

        results = run_all(wanted, schedule, folder, jobs, tell)
    print('timing the networks in turns')
    costs = measure_cost(names, rounds=1) if quick else measure_cost(names)
    (folder / 'costs.json').write_text(json.dumps(costs, indent=1) + '\n')
    facts = machine('cpu')
    settings = ', '.join(f'{key} {value}' for key, value in schedule._asdict().items())
    seconds = sum(result['seconds'] for result in results)
    text = (
        f'{facts["date"]}, {facts["device"]}, torch {facts["torch"]}; {len(results)} trainings of '
        f'{seconds / 60:.0f} min together, one thread each; {settings}.\n\n'
        f'{main_table(results, costs)}\n\nCarrier tokens at the other size by either pooling rule:\n\n'
        f'{pooling_table(results, names)}\n'
    )
    write_whole(folder / TABLE, text)
    draw_plot(results, names, folder / PLOT)
    print(f'{text}\n{(time.perf_counter() - start) / 60:.0f} min; {folder / TABLE}')


def write_page(folder: Path, page: Path = PAGE) -> None:
    """Put the study's tables and plot into the page."""
    table, plot = folder / TABLE, folder / PLOT
    for path in (table, plot):
        if not path.is_file():
            raise FileError(f'{path} is not there; run python tools/ablation.py first')
    text = page.read_text(encoding='utf-8')
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    picture = f'![scores of every seed]({PLOT})'
    write_whole(page, f'{before}{BEGIN}\n\n{table.read_text()}\n{picture}\n\n{END}{after}')
    shutil.copyfile(plot, page.parent / PLOT)
    print(f'written: {page}')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--work-dir', type=Path, help='default: work_dirs/ablation')
    parser.add_argument(
        '--jobs', type=positive_int, default=2, help='trainings at once (default: 2)'
    )
    parser.add_argument('--quick', action='store_true', help='a trial of a few seconds')
    parser.add_argument(
        '--page', action='store_true', help='write the result into docs/ablations.md'
    )
    args = parser.parse_args()
    if args.quick and args.page:
        parser.error('--page takes the whole study; the numbers of --quick mean nothing')
    name = 'ablation_quick' if args.quick else 'ablation'
    folder = args.work_dir or ROOT / 'work_dirs' / name
    if args.page:
        write_page(folder)
        return
    check_folder(folder, '--work-dir')
    study(folder, args.jobs, args.quick)


if __name__ == '__main__':
    exit_on_user_error(main)
