// Fields of a form: a label, a control, a hint, and the place where it is said what is wrong with it and how to mend it.
import { el, setAttribute, setText } from "../core/dom.js"

let made = 0

export class Field {
  // `name`: of the request's field, as the API's errors name it. `read()` gives the value, undefined for none. `problem()`
  // says what is wrong that the API cannot see, "" for nothing: a request without it would be another one than meant.
  constructor(name, label, control, { read = () => textOf(control), problem = () => problemOf(control), hint = "", wide = false } = {}) {
    made += 1
    this.name = name
    this.control = control
    this.read = read
    this.problem = problem
    control.id ||= `field-${made}`
    this._error = el("p", { class: "field-error", id: `${control.id}-error` })
    this._hint = el("p", { class: "hint", id: `${control.id}-hint`, textContent: hint })
    const isCheck = control.type === "checkbox"
    const named = el("label", { htmlFor: control.id, class: isCheck ? "check" : "" })
    this._label = document.createTextNode(label)
    if (isCheck) named.append(control)
    named.append(this._label)
    this.element = el("div", { class: wide ? "field wide" : "field" }, named, isCheck ? null : control, this._hint, this._error)
    setAttribute(control, "aria-describedby", `${this._hint.id} ${this._error.id}`)
  }

  set label(text) {
    this._label.data = text
  }

  set hint(text) {
    setText(this._hint, text)
  }

  // `text`: what is wrong, "" for nothing.
  fail(text) {
    setText(this._error, text)
    setAttribute(this.control, "aria-invalid", text ? "true" : null)
  }
}

const textOf = (control) => control.value.trim() || undefined
// Browsers give no value at all for what is not a number.
const problemOf = (control) => (control.validity?.badInput ? "This is not a number: give digits only" : "")
const numberOf = (control) => (control.value.trim() === "" ? undefined : Number(control.value))

export function textField(name, label, { placeholder = "", ...options } = {}) {
  return new Field(name, label, el("input", { type: "text", placeholder, autocomplete: "off" }), options)
}

export function numberField(name, label, { placeholder = "", min, max, step = "any", ...options } = {}) {
  const control = el("input", { type: "number", inputMode: "decimal", placeholder, attributes: { min, max, step } })
  return new Field(name, label, control, { read: () => numberOf(control), ...options })
}

// `options`: values, or [value, text] pairs; "" is what is left out.
export function choiceField(name, label, options, settings = {}) {
  const control = el("select", {}, ...options.map((option) => {
    const [value, text] = Array.isArray(option) ? option : [option, option]
    return el("option", { value, textContent: text })
  }))
  return new Field(name, label, control, settings)
}

export function checkField(name, label, settings = {}) {
  const control = el("input", { type: "checkbox" })
  return new Field(name, label, control, { read: () => control.checked || undefined, ...settings })
}

// The field for one property of a JSON Schema (an engine's parameters).
export function schemaField(name, property, settings = {}) {
  const schema = property.anyOf?.find(({ type }) => type !== "null") ?? property
  const label = property.title ?? name.split(".").at(-1)
  const shown = { hint: property.description ?? "", ...settings }
  if (schema.enum) return choiceField(name, label, [["", `default: ${property.default ?? "none"}`], ...schema.enum], shown)
  if (schema.type === "boolean") return checkField(name, label, shown)
  const placeholder = property.default === undefined || property.default === null ? "" : String(property.default)
  if (schema.type === "number" || schema.type === "integer") {
    const { minimum: min, maximum: max } = schema
    return numberField(name, label, { min, max, placeholder, step: schema.type === "integer" ? 1 : "any", ...shown })
  }
  return textField(name, label, { placeholder, ...shown })
}
