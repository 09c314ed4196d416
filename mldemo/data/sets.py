"""The data sets: their names, credits and licences, and their three disjoint parts.

A subclass of `DataSet` that has a name is known by it everywhere: to `--data`, in a checkpoint's
record, on the model card. To add a data set, add a class.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from mldemo.data.idx import home_of, read_part
from mldemo.data.materials import Material
from mldemo.data.preparation import Preparation
from mldemo.space.streams import Stream, generator

PARTS = ("train", "validation", "test")
SHARED = Path("/usr/share/datasets")  # where Debian's packages put them


def check_part(part: str) -> None:
    """Raise `ValueError` unless a part is one of the three."""
    if part not in PARTS:
        raise ValueError(f"part must be one of {', '.join(PARTS)}, got {part!r}")


class DataSet(ABC):
    """Functions on the torus in three disjoint parts: for training, selection and reporting.

    A subclass sets `name` (without one it is not registered), `title`, `credit`, `licence` and, if
    the data are on the Hugging Face Hub, `hub`, their id there; `finest` is the level N up to
    which its fields have content.
    """

    known: ClassVar[dict[str, type["DataSet"]]] = {}
    name: str
    title: ClassVar[str]
    credit: ClassVar[str] = ""
    licence: ClassVar[str] = ""
    hub: ClassVar[str | None] = None
    finest: ClassVar[int] = 64

    def __init_subclass__(cls) -> None:
        """Register a class that has a name; a malformed or taken name raises `ValueError`."""
        super().__init_subclass__()
        name = cls.__dict__.get("name")
        if name is None:
            return
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) or name in DataSet.known:
            raise ValueError(f"a data set needs a plain name of its own, got {name!r}")
        DataSet.known[name] = cls

    @classmethod
    def find(cls) -> Self:
        """The data set, by name alone; `ValueError` if its files are not in a usual place."""
        return cls()

    @classmethod
    def described(cls) -> str:
        """Title, credit and licence in one line."""
        credit = f" ({cls.credit})" if cls.credit else ""
        return f"{cls.title}{credit}" + (f", {cls.licence}" if cls.licence else "")

    @abstractmethod
    def count(self, part: str) -> int:
        """How many fields a part holds."""

    @abstractmethod
    def fields(
        self, part: str = "train", resolution: int | None = None, first: int | None = None
    ) -> Tensor:
        """A part, or its `first` fields, (B, 1, N, N), float32; N = `finest` by default."""

    def labels(self, part: str) -> Tensor | None:
        """The classes of a part (B,), from 0; None if it has none."""
        check_part(part)
        return None


def split(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of `count` training images for "train" and "validation": a twelfth is held out.

    Of MNIST's 60,000 that leaves 55,000 and 5,000. Sorted; a function of `count` alone.
    """
    order = generator(Stream.START, 2303, 4772).permutation(count)
    held = count // 12
    return np.sort(order[held:]), np.sort(order[:held])


class IdxFolder(DataSet):
    """A folder of IDX files (MNIST's format), known by the folder's name.

    "train" and "validation" are the `split` of the files train-*, "test" is the files t10k-*.
    Missing, damaged or inconsistent files raise `ValueError`.
    """

    preparation: ClassVar[Preparation] = Preparation()

    def __init__(self, folder: Path | str) -> None:
        self.folder = home_of(Path(folder))
        if not hasattr(type(self), "name"):
            self.name = folder_name(self.folder)

    @classmethod
    def find(cls) -> Self:
        """From a folder of its name in the current directory or in /usr/share/datasets."""
        places = [Path(cls.name), SHARED / cls.name]
        for place in places:
            if place.is_dir():
                return cls(place)
        raise ValueError(
            f"{cls.title} is not in {' nor in '.join(map(str, places))}: name its folder"
        )

    def _chosen(self, part: str, array: np.ndarray) -> np.ndarray:
        if part == "test":
            return array
        train, validation = split(len(array))
        return array[train if part == "train" else validation]

    def _read(self, part: str, what: str) -> np.ndarray:
        check_part(part)
        return read_part(self.folder, "t10k" if part == "test" else "train", what)

    def images(self, part: str) -> np.ndarray:
        """The unprepared images of a part, uint8 (B, h, w)."""
        return self._chosen(part, self._read(part, "images-idx3"))

    def count(self, part: str) -> int:
        """How many images a part holds."""
        return len(self.images(part))

    def fields(
        self, part: str = "train", resolution: int | None = None, first: int | None = None
    ) -> Tensor:
        """A part, or its `first` images, prepared."""
        images = self.images(part)[:first]
        if len(images) == 0:
            raise ValueError(f"{self.folder} has no {part} part: at least 12 images are needed")
        return self.preparation(images, resolution)

    def labels(self, part: str) -> Tensor | None:
        """The classes of a part; None if the folder holds no labels for it."""
        files = "t10k" if part == "test" else "train"
        check_part(part)
        if not any(self.folder.glob(f"{files}-labels*")):
            return None
        labels, images = self._read(part, "labels-idx1"), self._read(part, "images-idx3")
        if labels.shape != images.shape[:1]:
            raise ValueError(
                f"{self.folder} holds {len(images)} {files} images, but labels {labels.shape}"
            )
        return torch.from_numpy(self._chosen(part, labels).astype(np.int64))


class Mnist(IdxFolder):
    """60,000 and 10,000 handwritten digits."""

    name = "mnist"
    title = "MNIST"
    credit = "Y. LeCun, C. Cortes, C. Burges"
    licence = "CC BY-SA 3.0"
    hub = "ylecun/mnist"


class SmallMnist(IdxFolder):
    """2,400 of MNIST's training digits, which come with the package; there is no test part."""

    name = "mnist-small"
    title = "2,400 training digits of MNIST"
    credit = Mnist.credit
    licence = Mnist.licence

    @classmethod
    def find(cls) -> Self:
        """From the folder `digits` next to this module."""
        return cls(Path(__file__).with_name("digits"))


class FashionMnist(IdxFolder):
    """60,000 and 10,000 garments."""

    name = "fashion-mnist"
    title = "Fashion-MNIST"
    credit = "Zalando SE"
    licence = "MIT"
    hub = "zalando-datasets/fashion_mnist"


class TwoPhaseMaterial(DataSet):
    """Random two-phase media: `Material` with its defaults, 5 ms per sample."""

    name = "material"
    title = "random two-phase media"
    credit = "drawn by formula"
    # The samples of each part; validation and test start beyond any future training set.
    samples: ClassVar[dict[str, range]] = {
        "train": range(7000),
        "validation": range(2**31, 2**31 + 5000),
        "test": range(2**32, 2**32 + 5000),
    }

    def _samples(self, part: str) -> Sequence[int]:
        check_part(part)
        return self.samples[part]

    def count(self, part: str) -> int:
        """How many samples a part holds."""
        return len(self._samples(part))

    def fields(
        self, part: str = "train", resolution: int | None = None, first: int | None = None
    ) -> Tensor:
        """A part, or its `first` fields."""
        return Material().fields(self._samples(part)[:first], resolution or self.finest)


def folder_name(folder: Path) -> str:
    """The name of the data in a folder: the folder's, or its parent's if it is called `raw`."""
    place = folder.resolve()
    return place.parent.name if place.name == "raw" else place.name


def open_data(source: str | Path) -> DataSet:
    """The data set that `--data` specifies: by its name, or as a folder of IDX files.

    "./material", or any `Path`, is a folder. A folder that has the name of an IDX data set
    ("mnist", "FashionMNIST") is opened as that one. `ValueError` if there is neither.
    """
    if isinstance(source, str) and source in DataSet.known:
        return DataSet.known[source].find()
    folder = Path(source)
    if not folder.is_dir():
        raise ValueError(
            f"data folder {str(source)!r} does not exist (nor is it one of the names "
            f"{', '.join(DataSet.known)})"
        )
    home = home_of(folder)
    plain = folder_name(home).lower().replace("-", "").replace("_", "")
    for name, kind in DataSet.known.items():
        if issubclass(kind, IdxFolder) and name.replace("-", "") == plain:
            return kind(home)
    return IdxFolder(home)
