"""Controls that have a name in the URL: one definition for the form, the page and the server.

A field reads its value from a URL (`read`), builds its gradio component (`component`) and tells
the page what is allowed (`spec`), so that form, link and server cannot disagree.
"""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
from gradio.components import Component

from mldemo.space.streams import LARGEST_SEED
from mldemo.ui.terms import TERMS

Options = Sequence[tuple[str, str | int]]  # pairs (label, value)
LARGEST_EXACT = 2**53 - 1  # whole numbers that JavaScript can hold


@dataclass(frozen=True)
class Field(ABC):
    """A control. `name` is its key in the URL, `default` what an absent key means.

    why: what it means, in plain words, for those who ask.
    lesser: folded away until more controls are asked for.
    """

    name: str
    label: str
    default: Any
    why: str = field(kw_only=True)
    lesser: bool = field(default=False, kw_only=True)

    @abstractmethod
    def read(self, text: str) -> Any:
        """The value that a text stands for; anything not allowed raises `ValueError`."""

    def spec(self) -> dict[str, Any]:
        """What the page must know to name the control and to check a value, as JSON types."""
        return {"name": self.name, "label": self.label, "default": self.default}

    @abstractmethod
    def component(self, ident: str) -> Component:
        """The gradio component, with `ident` as its id in the page."""


@dataclass(frozen=True)
class Choice(Field):
    """One of a few values: radio buttons, or a menu.

    free: the value that leaves the choice to the run, whose head says under the field's name what
    was taken: a link that is copied names that.
    options: the values, or a function that gives those that there are now.
    """

    options: Options | Callable[[], Options]
    menu: bool = False
    free: str | None = None

    @property
    def offered(self) -> Options:
        """The values that there are now."""
        return self.options() if callable(self.options) else self.options

    def read(self, text: str) -> str | int:
        """The option whose value is written like that."""
        for _, value in self.offered:
            if str(value) == text:
                return value
        known = ", ".join(str(value) for _, value in self.offered)
        raise ValueError(f"{self.name} must be one of {known}, got {text[:80]!r}")

    def spec(self) -> dict[str, Any]:
        """And the values, with their labels."""
        labels, values = zip(*self.offered, strict=True)
        free = {} if self.free is None else {"free": self.free}
        return super().spec() | {"values": values, "labels": labels} | free

    def component(self, ident: str) -> Component:
        """A menu or radio buttons."""
        kind = gr.Dropdown if self.menu else gr.Radio
        return kind(list(self.offered), value=self.default, label=self.label, elem_id=ident)


@dataclass(frozen=True)
class Aspect:
    """Radio buttons for one side of what another field says: that field alone is in the URL.

    of: its name. `<name>.js` in the tab's folder exports `shown(facts, values)`, what the buttons
    show for the values of the tab's fields (an update of gradio's), and `chosen(facts, values,
    option)`, the other field's value once an option has been pressed.
    """

    name: str
    label: str
    options: Sequence[str]
    of: str
    why: str
    facts: Any

    def spec(self) -> dict[str, Any]:
        """What the page must know to fill the buttons in when it opens."""
        return {"name": self.name, "facts": self.facts}

    def component(self, ident: str) -> gr.Radio:
        """Radio buttons that show nothing yet."""
        return gr.Radio(
            list(self.options), label=self.label, info=" ", elem_id=ident, elem_classes="md-aspect"
        )


@dataclass(frozen=True)
class Whole(Field):
    """A whole number from `low` to `high`: a slider, or a box where the range is long."""

    low: int
    high: int
    slider: bool = True

    def read(self, text: str) -> int:
        """Digits, and nothing else."""
        if not re.fullmatch(r"-?[0-9]{1,20}", text) or not self.low <= int(text) <= self.high:
            raise ValueError(
                f"{self.name} must be a whole number from {self.low} to {self.high}, "
                f"got {text[:80]!r}"
            )
        return int(text)

    def spec(self) -> dict[str, Any]:
        """And the bounds."""
        return super().spec() | {"low": self.low, "high": self.high, "whole": True}

    def component(self, ident: str) -> Component:
        """A slider or a number box."""
        if self.slider:
            return gr.Slider(
                self.low, self.high, self.default, step=1, label=self.label, elem_id=ident
            )
        return gr.Number(
            self.default, label=self.label, precision=0, minimum=self.low, elem_id=ident
        )


@dataclass(frozen=True)
class Number(Field):
    """A finite number from `low` to `high`, on a slider with `step`."""

    low: float
    high: float
    step: float

    def read(self, text: str) -> float:
        """A plain decimal number."""
        plain = re.fullmatch(r"-?[0-9]*\.?[0-9]+(e-?[0-9]{1,2})?", text[:40])
        value = float(text) if plain and len(text) <= 40 else math.nan
        if not self.low <= value <= self.high:
            raise ValueError(
                f"{self.name} must be a number from {self.low:g} to {self.high:g}, "
                f"got {text[:80]!r}"
            )
        return value

    def spec(self) -> dict[str, Any]:
        """And the bounds."""
        return super().spec() | {"low": self.low, "high": self.high, "whole": False}

    def component(self, ident: str) -> Component:
        """A slider."""
        return gr.Slider(
            self.low, self.high, self.default, step=self.step, label=self.label, elem_id=ident
        )


@dataclass(frozen=True)
class Several(Field):
    """From `least` to `most` of a few values; in the URL joined by dots: "bessel.standard"."""

    options: Sequence[tuple[str, str]]
    least: int = 1
    most: int = 4

    def read(self, text: str) -> list[str]:
        """Values in the order given, without repetition."""
        values, known = text.split("."), [value for _, value in self.options]
        strange = [v for v in values if v not in known]
        if strange:
            raise ValueError(
                f"{self.name} must be made of {', '.join(known)}, got {strange[0][:80]!r}"
            )
        if len(set(values)) != len(values) or not self.least <= len(values) <= self.most:
            raise ValueError(
                f"{self.name} must be {self.least} to {self.most} different values, "
                f"got {text[:80]!r}"
            )
        return values

    def spec(self) -> dict[str, Any]:
        """And the values, with their labels, and how many of them."""
        labels, values = zip(*self.options, strict=True)
        many = {"least": self.least, "most": self.most}
        return super().spec() | {"values": values, "labels": labels} | many

    def component(self, ident: str) -> Component:
        """Check boxes."""
        return gr.CheckboxGroup(
            list(self.options), value=list(self.default), label=self.label, elem_id=ident
        )


@dataclass(frozen=True)
class Unseen:
    """Text without a control: what the tab's script keeps in the URL, base64url or nothing."""

    name: str
    longest: int
    default: str = ""

    def read(self, text: str) -> str:
        """The text itself."""
        if not re.fullmatch(r"[A-Za-z0-9_-]*", text) or len(text) > self.longest:
            raise ValueError(
                f"{self.name} must be at most {self.longest} characters of base64url, "
                f"got {len(text)}: {text[:80]!r}"
            )
        return text


def seed_field(default: int = 7, *, lesser: bool = False) -> Whole:
    """The seed, as far as JavaScript can hold it exactly."""
    assert LARGEST_EXACT < LARGEST_SEED
    bounds = (0, LARGEST_EXACT)
    return Whole("seed", "Seed", default, *bounds, slider=False, why=TERMS["seed"], lesser=lesser)


def read_all(fields: Sequence[Field | Unseen], query: Mapping[str, str]) -> dict[str, Any]:
    """The values of all fields; a key that is none of them raises `ValueError`."""
    unknown = sorted(set(query) - {f.name for f in fields})
    if unknown:
        known = ", ".join(f.name for f in fields)
        raise ValueError(f"there is no control {unknown[0][:80]!r} here; there are: {known}")
    return {f.name: f.read(query[f.name]) if f.name in query else f.default for f in fields}
