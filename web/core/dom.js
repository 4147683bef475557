// Builds elements. Text reaches the document by textContent only.

// `properties` are set as they are; `class`, `attributes` and `on` (listeners) have their own meaning.
export function el(name, properties = {}, ...children) {
  return fill(document.createElement(name), properties, children)
}

const SVG = "http://www.w3.org/2000/svg"

// An icon of 24 by 24 units, drawn by lines. It says nothing to a screen reader: what it stands on has a name.
export function icon(path) {
  const svg = document.createElementNS(SVG, "svg")
  svg.setAttribute("viewBox", "0 0 24 24")
  svg.setAttribute("aria-hidden", "true")
  svg.classList.add("icon")
  const line = document.createElementNS(SVG, "path")
  line.setAttribute("d", path)
  svg.append(line)
  return svg
}

function fill(element, { class: names, attributes = {}, on = {}, ...properties }, children) {
  if (names) element.className = names
  for (const [name, value] of Object.entries(attributes)) setAttribute(element, name, value)
  for (const [name, listener] of Object.entries(on)) element.addEventListener(name, listener)
  Object.assign(element, properties)
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false))
  return element
}

export function setAttribute(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name)
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, String(value))
}

// Changes nothing where the text is the same already, so that selections and live regions stay as they are.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text
}

export function button(text, onclick, properties = {}) {
  return el("button", { type: "button", textContent: text, onclick, ...properties })
}

// A button that shows a picture only; `label` is its name, and what a mouse shows.
export function iconButton(path, label, onclick, properties = {}) {
  const made = el("button", { type: "button", class: "icon-button", onclick, title: label, ...properties }, icon(path))
  made.setAttribute("aria-label", label)
  return made
}

export function rename(control, label) {
  setAttribute(control, "aria-label", label)
  if (control.title !== label) control.title = label
}
