"""What lies below a folder."""

from __future__ import annotations

import os
from pathlib import Path

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')


def tree(folder: Path) -> list[tuple[Path, list[str]]]:
    """``folder`` and all below it, each with the names of its files.

    Symbolic links are followed, and every folder is there once, by its own path rather than a link:
    links may lead in circles.
    """
    found, seen = [], set()
    starts = [folder]
    for start in starts:  # links to folders are appended meanwhile
        for root, folders, names in os.walk(start):
            facts = os.stat(root)
            identity = facts.st_dev, facts.st_ino
            if identity in seen:
                folders.clear()
                continue
            seen.add(identity)
            found.append((Path(root), names))
            starts += [
                Path(root, name) for name in sorted(folders) if Path(root, name).is_symlink()
            ]
    return found


def image_files(folder: Path) -> list[Path]:
    """Files under ``folder`` that are named as images, sorted."""
    paths = (Path(root, name) for root, names in tree(folder) for name in names)
    return sorted(p for p in paths if p.suffix.lower() in IMAGE_SUFFIXES and os.path.isfile(p))


def other_files(folder: Path) -> list[Path]:
    """Files under ``folder`` that `image_files` leaves out, but for hidden ones, sorted."""
    images = set(image_files(folder))
    paths = (Path(root, name) for root, names in tree(folder) for name in names)
    return sorted(p for p in paths if p not in images and not p.name.startswith('.'))


def stem_of(path: Path, folder: Path) -> str:
    """``path`` below ``folder`` without its suffix: what an image and its label map share."""
    return str(path.relative_to(folder).with_suffix(''))


def by_stem(folder: Path) -> dict[str, Path]:
    """The image files under ``folder`` by `stem_of`; of several of one name, the first."""
    files: dict[str, Path] = {}
    for path in image_files(folder):
        files.setdefault(stem_of(path, folder), path)
    return files
