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
from odml.images import SUFFIXES, list_images, read_image
from odml.listing import Listing
from odml.parallel import parallel_map

STANDARD_INPUT = "-"
VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
_LIST_SUFFIX = ".txt"
_ADDRESSES = ("http://", "https://")
_TIMEOUT = 30.0  # seconds without a byte
_LARGEST_DOWNLOAD = 2**28  # bytes; what is sent without end must not fill the memory
_FETCHED_AT_ONCE = 8
_READERS = 16  # more would only hold more pictures in memory


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

    sources: Sequence[Source]
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
    if found.images is None:
        _require_opencv(found.sources)
    return found


def read_pictures(
    sources: Sequence[Source],
    *,
    wanted: Callable[[str], bool] = bool,
    frame_step: int = 1,
    workers: int | None = None,
) -> Iterator[Picture]:
    """Yield the pictures in the sources' order, read ahead in threads; of a video every ``frame_step``-th frame.

    The frames of ``clip.mp4`` are named ``clip.mp4/frame_000000`` and so on, by their numbers in the video.

    Args:
        wanted: says by its name whether a picture is to be read.
        workers: how many threads, each of which may have two pictures waiting; None: one a core, at most 16.
    """
    workers = workers or min(os.cpu_count() or 1, _READERS)
    for kind, group in itertools.groupby(sources, key=lambda source: source.kind):
        if kind == "video":
            for source in group:
                yield from _in_a_thread(_frames(source, frame_step, wanted))
        else:
            threads = max(_FETCHED_AT_ONCE, workers) if kind == "address" else workers
            chosen = (source for source in group if wanted(source.name))
            yield from parallel_map(_read, chosen, workers=threads, ahead=2 * threads)


class FileNames:
    """Names for the files that belong to pictures, unlike for each of them; only the exceptions are remembered."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._long: set[str] = set()
        while sources:
            counts = Counter(self.stem(source.name).casefold() for source in sources)
            shared = {
                _without_suffix(source.name).casefold()
                for source in sources
                if counts[self.stem(source.name).casefold()] > 1
            }
            if shared <= self._long:
                break
            self._long |= shared

    def stem(self, name: str) -> str:
        """Give a picture's name without its suffix: ``a/photo.jpg`` is ``a/photo``.

        Where two would be the same, in any case of letters, they keep their suffixes.
        """
        short = _without_suffix(name)
        return name if short.casefold() in self._long else short


def _without_suffix(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.suffix.lower() in SUFFIXES else name


class _OfFolder(Sequence[Source]):
    """The pictures of a folder as sources, made when they are asked for."""

    def __init__(self, images: Listing) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if isinstance(index, slice):
            return _OfFolder(self._images[index])
        return Source(str(self._images[index]), self._images.names[index])


def _of_folder(folder: Path) -> Sources:
    images, others = list_images(folder)
    if not images:
        raise ImageError(f"{folder}: holds no image ({', '.join(SUFFIXES)}); pass another folder")
    return Sources(_OfFolder(images), folder, len(others))


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
        reason, status = error.reason if isinstance(error, urllib.error.URLError) else error, ""
        if isinstance(error, urllib.error.HTTPError):
            status = f"{error.code} "
            error.close()
        raise ImageError(f"{address}: cannot be fetched ({status}{reason}); look at it in a browser") from None
    return encoded


def _frames(source: Source, step: int, wanted: Callable[[str], bool]) -> Iterator[Picture]:
    import cv2

    video = cv2.VideoCapture(source.where)
    number = 0
    try:
        while video.grab():
            name = f"{source.name}/frame_{number:06}"
            if number % step == 0 and wanted(name):
                where = f"{source.where}, frame {number}"
                decoded, frame = video.retrieve()
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
