"""The learning rates and weight decays of every config, by building its optimiser.

    python tools/optimiser_table.py [CONFIG ...]
    python tools/optimiser_table.py --page

One row for each part of the configs that agree in all of it. ``--page`` writes the table of all
configs into docs/recipes.md.
"""

import argparse
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm import tqdm

from fastervit_mm.config.host import build_skeleton
from fastervit_mm.errors import exit_on_user_error

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / 'docs' / 'recipes.md'
BEGIN, END = '<!-- optimiser table -->', '<!-- end of the optimiser table -->'
KINDS = (
    'convolutions',
    'linear layers',
    'norms',
    'biases',
    'layer scales',
    'position MLPs',
    'position tables',
    'carrier convolution',
    'embeddings',
)
PARTS = ('backbone', 'the rest')
NORMS = (_BatchNorm, nn.GroupNorm, nn.LayerNorm)

# kind of parameter -> the (factor of the learning rate, weight decay) of those there are
Row = dict[str, set[tuple[float, float]]]


def kind_of(name: str, module: nn.Module) -> str:
    """Which of `KINDS` a parameter is.

    Args:
        name: in the model, such as 'backbone.levels.2.blocks.0.gamma1'.
        module: that it belongs to.
    """
    last = name.rpartition('.')[2]
    if 'global_tokenizer' in name:
        return 'carrier convolution'
    if 'cpb_mlp' in name:
        return 'position MLPs'
    if re.fullmatch(r'gamma\d?', last):
        return 'layer scales'
    if last == 'relative_position_bias_table':
        return 'position tables'
    if isinstance(module, NORMS):
        return 'norms'
    if last.endswith('bias'):
        return 'biases'
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        return 'convolutions'
    if isinstance(module, nn.Embedding) or last == 'level_embed':
        return 'embeddings'
    return 'linear layers'


def rows(cfg: Config) -> dict[str, Row]:
    """What the optimiser of ``cfg`` does to each kind of parameter, for each of `PARTS`."""
    model = build_skeleton(cfg)
    # mixed precision refuses to start without an accelerator
    wrapper = build_optim_wrapper(model, dict(cfg.optim_wrapper, type='OptimWrapper'))
    base = cfg.optim_wrapper.optimizer.lr
    groups = {id(p): group for group in wrapper.optimizer.param_groups for p in group['params']}
    found: dict[str, Row] = {part: {} for part in PARTS}
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(prefix, recurse=False):
            group = groups.get(id(parameter))
            if group is None:
                continue  # frozen
            part = PARTS[0] if name.startswith('backbone.') else PARTS[1]
            settings = (round(group['lr'] / base, 6), group['weight_decay'])
            found[part].setdefault(kind_of(name, module), set()).add(settings)
    return found


def cell(settings: Iterable[tuple[float, float]]) -> str:
    """'×1, 0.05'; where the factors differ, the lowest and the highest."""
    settings = sorted(settings)
    if not settings:
        return ''
    factors = sorted({f'{factor:.2g}' for factor, _ in settings}, key=float)
    decays = ' / '.join(f'{decay:g}' for decay in sorted({decay for _, decay in settings}))
    first, last = factors[0], factors[-1]
    return f'×{first}, {decays}' if first == last else f'×{first} … {last}, {decays}'


def agree(one: dict[str, Row], other: dict[str, Row]) -> bool:
    """Whether two configs do the same to every kind that both have."""
    return all(
        one[part][kind] == other[part][kind]
        for part in PARTS
        for kind in one[part].keys() & other[part].keys()
    )


def grouped(paths: Iterable[Path]) -> list[tuple[list[str], str, dict[str, Row]]]:
    """Configs that agree: their names, their optimiser, and their rows together."""
    groups: list[tuple[list[str], str, dict[str, Row]]] = []
    for path in paths:
        cfg = Config.fromfile(path)
        optimiser = cfg.optim_wrapper.optimizer
        title = f'{optimiser.type}, {optimiser.lr:g}'
        found = rows(cfg)
        for names, other, together in groups:
            if other == title and agree(found, together):
                names.append(path.stem)
                for part in PARTS:
                    together[part] |= found[part]
                break
        else:
            groups.append(([path.stem], title, found))
    return groups


def table_lines(paths: Iterable[Path]) -> Iterator[str]:
    """The table in Markdown."""
    yield '| configs | optimiser, rate | part | ' + ' | '.join(KINDS) + ' |'
    yield '| --- | --- | --- |' + ' --- |' * len(KINDS)
    for names, title, together in grouped(paths):
        listed = '<br>'.join(f'`{name}`' for name in names)
        for part in PARTS:
            cells = [cell(together[part].get(kind, ())) for kind in KINDS]
            first = f'{listed} | {title}' if part == PARTS[0] else ' | '
            yield f'| {first} | {part} | ' + ' | '.join(cells) + ' |'


def all_configs() -> list[Path]:
    """Every config of the project, by its name."""
    found = (p for p in (ROOT / 'configs').rglob('*.py') if '_base_' not in p.parts)
    return sorted(found, key=lambda path: path.stem)


def written_table() -> str:
    """The table that docs/recipes.md holds."""
    return PAGE.read_text(encoding='utf-8').split(BEGIN)[1].split(END)[0].strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('configs', nargs='*', type=Path, help='default: all')
    parser.add_argument('--page', action='store_true', help='write it into docs/recipes.md')
    args = parser.parse_args()
    MMLogger.get_instance('optimiser_table', log_level='ERROR')  # it would list every parameter
    paths = all_configs() if args.page or not args.configs else args.configs
    with torch.no_grad():
        table = '\n'.join(table_lines(tqdm(paths, unit='configs', leave=False)))
    if not args.page:
        print(table)
        return
    text = PAGE.read_text(encoding='utf-8')
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.write_text(f'{before}{BEGIN}\n\n{table}\n\n{END}{after}', encoding='utf-8')
    print(f'written: {PAGE}')


if __name__ == '__main__':
    exit_on_user_error(main)
