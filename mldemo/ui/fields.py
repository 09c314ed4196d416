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
LARGEST_EXACT = 2**53 - 1  # the largest safe integer in JavaScript


@dataclass(frozen=True)
class Field(ABC):
    """A control. `name` is its key in the URL, `default` its value if the key is absent.

    why: an explanation in plain words, shown on request.
    lesser: hidden until "More controls" is pressed.
    """

    name: str
    label: str
    default: Any
    why: str = field(kw_only=True)
    lesser: bool = field(default=False, kw_only=True)

    @abstractmethod
    def read(self, text: str) -> Any:
        """Parse a value from the URL; anything not allowed raises `ValueError`."""

    def spec(self) -> dict[str, Any]:
        """What the page needs to label the control and to check a value, as JSON types."""
        return {"name": self.name, "label": self.label, "default": self.default}

    @abstractmethod
    def component(self, ident: str) -> Component:
        """The gradio component, with `ident` as its id in the page."""


@dataclass(frozen=True)
class Choice(Field):
    """One of a few values: radio buttons, or a menu.

    free: the value that leaves the choice to the run. The run's head reports the value chosen
    under the field's name, and a copied link contains that value.
    options: (label, value) pairs, or a function that returns the current ones.
    """

    options: Options | Callable[[], Options]
    menu: bool = False
    free: str | None = None

    @property
    def offered(self) -> Options:
        """The current options."""
        return self.options() if callable(self.options) else self.options

    def read(self, text: str) -> str | int:
        """The option whose value, as a string, is `text`."""
        for _, value in self.offered:
            if str(value) == text:
                return value
        known = ", ".join(str(value) for _, value in self.offered)
        raise ValueError(f"{self.name} must be one of {known}, got {text[:80]!r}")

    def spec(self) -> dict[str, Any]:
        """As `Field.spec`, with the values and their labels."""
        labels, values = zip(*self.offered, strict=True)
        free = {} if self.free is None else {"free": self.free}
        return super().spec() | {"values": values, "labels": labels} | free

    def component(self, ident: str) -> Component:
        """A menu or radio buttons."""
        kind = gr.Dropdown if self.menu else gr.Radio
        return kind(list(self.offered), value=self.default, label=self.label, elem_id=ident)


@dataclass(frozen=True)
class Aspect:
    """Radio buttons for one aspect of another field's value; only that field is in the URL.

    of: the name of that field. `<name>.js` in the tab's folder exports `shown(facts, values)`, the
    gradio update of the buttons for the values of the tab's fields, and `chosen(facts, values,
    option)`, the other field's value once an option has been pressed.
    """

    name: str
    label: str
    options: Sequence[str]
    of: str
    why: str
    facts: Any

    def spec(self) -> dict[str, Any]:
        """What the page needs to set the buttons when it opens."""
        return {"name": self.name, "facts": self.facts}

    def component(self, ident: str) -> gr.Radio:
        """Radio buttons with nothing selected yet."""
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
        """An integer in decimal notation, within the bounds."""
        if not re.fullmatch(r"-?[0-9]{1,20}", text) or not self.low <= int(text) <= self.high:
            raise ValueError(
                f"{self.name} must be a whole number from {self.low} to {self.high}, "
                f"got {text[:80]!r}"
            )
        return int(text)

    def spec(self) -> dict[str, Any]:
        """As `Field.spec`, with the bounds."""
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
    """A finite number from `low` to `high`, on a slider with `step`.

    suits: values of the field `of` which another number suits better than the default. When one is
    chosen the slider takes that number, and the default again when it is left, unless the slider
    was moved by hand. In a link an absent key means the default all the same.
    """

    low: float
    high: float
    step: float
    of: str = field(default="", kw_only=True)
    suits: Mapping[str, float] = field(default_factory=dict, kw_only=True)

    def read(self, text: str) -> float:
        """A decimal number, with or without an exponent, within the bounds."""
        plain = re.fullmatch(r"-?[0-9]*\.?[0-9]+(e-?[0-9]{1,2})?", text[:40])
        value = float(text) if plain and len(text) <= 40 else math.nan
        if not self.low <= value <= self.high:
            raise ValueError(
                f"{self.name} must be a number from {self.low:g} to {self.high:g}, "
                f"got {text[:80]!r}"
            )
        return value

    def spec(self) -> dict[str, Any]:
        """As `Field.spec`, with the bounds and what suits which value of the other field."""
        bounds = {"low": self.low, "high": self.high, "whole": False}
        return super().spec() | bounds | {"suits": {**self.suits}}

    def component(self, ident: str) -> Component:
        """A slider."""
        return gr.Slider(
            self.low, self.high, self.default, step=self.step, label=self.label, elem_id=ident
        )


@dataclass(frozen=True)
class Several(Field):
    """From `least` to `most` of a few values, joined by dots in the URL: "bessel.standard"."""

    options: Sequence[tuple[str, str]]
    least: int = 1
    most: int = 4

    def read(self, text: str) -> list[str]:
        """Values in the order given, without repetition."""
        values, known = text.split("."), [value for _, value in self.options]
        strange = [v for v in values if v not in known]
        if strange:
            raise ValueError(
                f"{self.name} must name some of {', '.join(known)}, got {strange[0][:80]!r}"
            )
        if len(set(values)) != len(values) or not self.least <= len(values) <= self.most:
            raise ValueError(
                f"{self.name} must name {self.least} to {self.most} different ones of "
                f"{', '.join(known)}, got {text[:80]!r}"
            )
        return values

    def spec(self) -> dict[str, Any]:
        """As `Field.spec`, with the values, their labels and the bounds on their number."""
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
    """Text without a control, kept in the URL by the tab's script: base64url or empty."""

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
    """The field of the seed, up to the largest safe integer in JavaScript."""
    assert LARGEST_EXACT < LARGEST_SEED
    bounds = (0, LARGEST_EXACT)
    return Whole("seed", "Seed", default, *bounds, slider=False, why=TERMS["seed"], lesser=lesser)


def read_all(fields: Sequence[Field | Unseen], query: Mapping[str, str]) -> dict[str, Any]:
    """The values of all fields, defaults for absent keys; unknown keys raise `ValueError`."""
    unknown = sorted(set(query) - {f.name for f in fields})
    if unknown:
        known = ", ".join(f.name for f in fields)
        raise ValueError(f"there is no control {unknown[0][:80]!r} here; there are: {known}")
    return {f.name: f.read(query[f.name]) if f.name in query else f.default for f in fields}
