"""Builds HTML and SVG as trees, so that no text of a video, a prompt or a file name can ever be read as markup."""

from __future__ import annotations

from xml.etree.ElementTree import Element, tostring

Content = Element | str | None
Attribute = str | int | float | bool | None


def element(tag: str, *content: Content, **attributes: Attribute) -> Element:
    """An element. `class_` is the attribute class, `data_value` is data-value; True is an attribute without a value;
    None and False leave an attribute or a content out."""
    made = Element(tag)
    for name, value in attributes.items():
        if value is not None and value is not False:
            made.set(name.rstrip("_").replace("_", "-"), "" if value is True else printable(str(value)))
    for part in content:
        if isinstance(part, Element):
            made.append(part)
        elif part is not None:
            _add_text(made, printable(part))
    return made


def document(root: Element) -> str:
    """The text of a whole page."""
    return "<!DOCTYPE html>\n" + tostring(root, encoding="unicode", method="html") + "\n"


def _add_text(parent: Element, text: str) -> None:
    if len(parent):
        parent[-1].tail = (parent[-1].tail or "") + text
    else:
        parent.text = (parent.text or "") + text


def printable(text: str) -> str:
    """Text without what HTML does not allow and what drives terminals (control characters), what UTF-8 cannot encode
    (lone surrogates), and what turns text around unseen."""
    return "".join(character if character.isprintable() or character in "\n\t" else "\ufffd" for character in text)
