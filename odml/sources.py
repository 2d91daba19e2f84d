"""Where the pictures to detect in come from: files, folders, globs, addresses, lists and videos.

Each picture gets a name, its path from the folder that all files are in (an address: its host and path), and no two
have the same one. What a folder or a glob holds beside pictures is passed over and counted; what the user names, or
a list does, is taken for a picture whatever its suffix is.
"""

from __future__ import annotations

import glob
import http.client
import importlib.util
import itertools
import os
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from odml.errors import ConfigurationError, ImageError
from odml.images import SUFFIXES, find_images, read_image
from odml.parallel import parallel_map

STANDARD_INPUT = "-"
VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
_LIST_SUFFIX = ".txt"
_ADDRESSES = ("http://", "https://")
_TIMEOUT = 30.0  # seconds without a byte
_LARGEST_DOWNLOAD = 2**28  # bytes; what is sent without end must not fill the memory
_FETCHED_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Source:
    """A picture file, the address of one, or a video; ``where`` is its path or address, ``name`` tells it apart."""

    where: str
    name: str
    kind: Literal["file", "address", "video"] = "file"


@dataclass(frozen=True)
class Sources:
    """What was asked for.

    ``root`` is the folder that all files among them are in, None where there are none; ``skipped`` counts the files
    of a folder or a glob that are no pictures.
    """

    sources: tuple[Source, ...]
    root: Path | None
    skipped: int = 0

    @property
    def images(self) -> int | None:
        """How many pictures there are, None where a video does not tell its frames beforehand."""
        return None if any(source.kind == "video" for source in self.sources) else len(self.sources)


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture to detect in; ``image`` is uint8 [H, W, 3] RGB, or what keeps it from being read."""

    where: str
    name: str
    image: np.ndarray | ImageError


def find_sources(images: str, *, listed: Iterable[str] = ()) -> Sources:
    """Find what ``images`` stands for.

    Args:
        images: a folder (its pictures, nested ones too), a glob (pictures and videos), an address (http, https), a
            picture, a video, a .txt file with a path or address a line, from that file's folder on; or "-".
        listed: the lines that "-" stands for, paths from the current folder on.
    Raises:
        ConfigurationError: there is no such file, the list cannot be read or is empty, or a video is among them and
            OpenCV is not installed.
        ImageError: a folder or a glob without pictures.
    """
    path = Path(images)
    if images == STANDARD_INPUT:
        found = _of_lines(listed, Path.cwd(), where="images: the list on standard input")
    elif images.startswith(_ADDRESSES):
        found = _of_paths([images])
    elif path.is_dir():
        found = _of_folder(path)
    elif path.is_file():
        is_list = path.suffix.lower() == _LIST_SUFFIX
        found = _of_lines(_lines(path), path.parent, where=str(path)) if is_list else _of_paths([images])
    elif glob.has_magic(images):
        found = _of_glob(images)
    else:
        raise ConfigurationError(
            f"images: there is no {images}; give a folder, a file, a glob, an address (http://, https://), a .txt list "
            "of these, or - for a list on standard input"
        )
    _require_opencv(found.sources)
    return found


def read_pictures(sources: Sequence[Source], *, frame_step: int = 1, ahead: int | None = None) -> Iterator[Picture]:
    """Yield the pictures in the sources' order, read ahead in threads; of a video every ``frame_step``-th frame.

    The frames of ``clip.mp4`` are named ``clip.mp4/frame_000000`` and so on, by their numbers in the video.

    Args:
        ahead: how many pictures may wait in memory; None: four a thread.
    """
    for kind, group in itertools.groupby(sources, key=lambda source: source.kind):
        if kind == "video":
            for source in group:
                yield from _in_a_thread(_frames(source, frame_step))
        else:
            workers = max(_FETCHED_AT_ONCE, os.cpu_count() or 1) if kind == "address" else None
            yield from parallel_map(_read, group, workers=workers, ahead=ahead)


def stems(names: Iterable[str]) -> dict[str, str]:
    """Give each picture's name without its suffix, for a file beside it: ``a/photo.jpg`` is ``a/photo``.

    Where two would be the same, in any case of letters, both keep their suffix.
    """
    return _distinct(names, lambda path: path.with_suffix("") if path.suffix.lower() in SUFFIXES else path, str)


def drawn_names(names: Iterable[str]) -> dict[str, str]:
    """Give each picture the name of a drawn one: that of a JPEG stays, of any other it ends in .png.

    Where two would be the same, in any case of letters, ``photo.gif`` becomes ``photo.gif.png``.
    """

    def long(path: PurePosixPath) -> str:
        return str(path) if is_jpeg(path.name) else f"{path}.png"

    return _distinct(names, lambda path: path if is_jpeg(path.name) else path.with_suffix(".png"), long)


def is_jpeg(name: str) -> bool:
    """Say whether a name is that of a JPEG file."""
    return name.lower().endswith((".jpg", ".jpeg"))


def _distinct(
    names: Iterable[str], short: Callable[[PurePosixPath], PurePosixPath], long: Callable[[PurePosixPath], str]
) -> dict[str, str]:
    shorts = {name: str(short(PurePosixPath(name))) for name in names}
    counts = Counter(each.casefold() for each in shorts.values())
    used: set[str] = set()
    return {
        name: _unused(each if counts[each.casefold()] == 1 else long(PurePosixPath(name)), used)
        for name, each in shorts.items()
    }


def _of_folder(folder: Path) -> Sources:
    paths, others = find_images(folder)
    if not paths:
        raise ImageError(f"{folder}: holds no image ({', '.join(SUFFIXES)}); pass another folder")
    sources = tuple(Source(str(path), path.relative_to(folder).as_posix()) for path in paths)
    return Sources(sources, folder, len(others))


def _of_glob(pattern: str) -> Sources:
    files = [path for path in sorted(glob.glob(pattern, recursive=True)) if os.path.isfile(path)]
    wanted = [path for path in files if path.lower().endswith(SUFFIXES + VIDEO_SUFFIXES)]
    if not wanted:
        raise ImageError(f"images: {pattern} fits no image ({', '.join(SUFFIXES)}) and no video; give another pattern")
    found = _of_paths(wanted)
    return Sources(found.sources, found.root, len(files) - len(wanted))


def _of_lines(lines: Iterable[str], folder: Path, *, where: str) -> Sources:
    texts = [text for line in lines if (text := line.strip())]
    if not texts:
        raise ConfigurationError(f"{where} is empty; write a path or an address a line")
    return _of_paths([text if text.startswith(_ADDRESSES) else str(folder / text) for text in texts])


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path}: cannot be read as a list ({error}); write it as text (UTF-8), a path or an address a line"
        ) from error


def _of_paths(texts: Sequence[str]) -> Sources:
    """Take each of the paths and addresses once."""
    once = list(dict.fromkeys(texts))
    files = [os.path.abspath(text) for text in once if not text.startswith(_ADDRESSES)]
    root = os.path.commonpath([os.path.dirname(file) for file in files]) if files else None
    sources: list[Source] = []
    used: set[str] = set()
    for text in once:
        if text.startswith(_ADDRESSES):
            name, kind = _name_of_address(text), "address"
        else:
            name = Path(os.path.abspath(text)).relative_to(str(root)).as_posix()
            kind = "video" if name.lower().endswith(VIDEO_SUFFIXES) else "file"
        sources.append(Source(text, _unused(name, used), kind))  # type: ignore[arg-type]
    return Sources(tuple(sources), Path(root) if root else None)


def _name_of_address(address: str) -> str:
    """Give host and path, without what would lead out of a folder."""
    parts = urllib.parse.urlsplit(address)
    path = urllib.parse.unquote(parts.path).replace("\0", "").replace("\\", "/").split("/")
    return "/".join([parts.hostname or "address", *(part for part in path if part not in ("", ".", ".."))])


def _unused(name: str, used: set[str]) -> str:
    """Give the name, or, where it is taken in any case of letters, the name with a number, and take it."""
    path = PurePosixPath(name)
    numbered = (str(path.with_name(f"{path.stem}-{number}{path.suffix}")) for number in itertools.count(2))
    free = next(each for each in itertools.chain([name], numbered) if each.casefold() not in used)
    used.add(free.casefold())
    return free


def _require_opencv(sources: Iterable[Source]) -> None:
    video = next((source for source in sources if source.kind == "video"), None)
    if video and not importlib.util.find_spec("cv2"):
        raise ConfigurationError(
            f"images: {video.where} is a video, which needs OpenCV, and that is not installed; "
            "pip install 'odml[video]'"
        )


def _read(source: Source) -> Picture:
    try:
        if source.kind == "address":
            return Picture(source.where, source.name, read_image(_fetch(source.where), where=source.where))
        return Picture(source.where, source.name, read_image(Path(source.where)))
    except ImageError as error:
        return Picture(source.where, source.name, error)


def _fetch(address: str) -> bytes:
    # Many servers refuse the name that Python's own client has.
    request = urllib.request.Request(address, headers={"User-Agent": "odml"})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
            encoded = answer.read(_LARGEST_DOWNLOAD)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        status = f"{error.code} " if isinstance(error, urllib.error.HTTPError) else ""
        raise ImageError(f"{address}: cannot be fetched ({status}{reason}); look at it in a browser") from None
    return encoded


def _frames(source: Source, step: int) -> Iterator[Picture]:
    import cv2

    video = cv2.VideoCapture(source.where)
    try:
        number = 0
        while video.grab():
            if number % step == 0:
                decoded, frame = video.retrieve()
                name = f"{source.name}/frame_{number:06}"
                where = f"{source.where}, frame {number}"
                image = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB) if decoded else ImageError(f"{where}: is damaged")
                yield Picture(where, name, image)
            number += 1
    finally:
        video.release()
    if not number:
        message = f"{source.where}: OpenCV finds no frame in it; convert it to MP4 (H.264), or remove it"
        yield Picture(source.where, source.name, ImageError(message))


def _in_a_thread(pictures: Iterator[Picture]) -> Iterator[Picture]:
    """Take the pictures from their iterator in one thread, a few ahead."""
    with closing(parallel_map(lambda _: next(pictures, None), itertools.count(), workers=1)) as taken:
        while (picture := next(taken)) is not None:
            yield picture
