// Forms beside the video: each asks the API for one thing, and says at its fields what is wrong.
import { Problem, textOf, withFix } from "../core/api.js"
import { el, setText } from "../core/dom.js"

// A form that calls `run(values)` when it is sent; `fields`: of make/fields.js; `hint`: an element. It is closed until it is asked for.
export class Act {
  constructor(title, { fields = [], text, run, hint = null }) {
    this._fields = fields
    this._run = run
    this._failure = el("p", { class: "field-error", attributes: { role: "alert" } })
    this._send = el("button", { textContent: text })
    const form = el("form", { noValidate: true }, hint,
      ...fields.map(({ element }) => element), this._failure, this._send)
    form.addEventListener("submit", (event) => { event.preventDefault(); this._try() })
    this._over = el("p", { class: "over" }) // no field of it can be sent any more
    this._offer = el("div", { class: "row" })
    form.prepend(this._over)
    form.append(this._offer)
    this._summary = el("summary", { textContent: title })
    this.element = el("details", { class: "act" }, this._summary, form)
  }

  // The focus stays in the section when what has it goes.
  set hidden(hidden) {
    const hadFocus = hidden && this.element.contains(document.activeElement)
    const section = this.element.closest("section")
    this.element.hidden = hidden
    if (hadFocus) section?.focus()
  }

  // Whether somebody is writing in it.
  get isBegun() {
    return this.element.open && this._fields.some(({ control }) => isWritten(control) && control.value.trim() !== "")
  }

  get values() {
    return Object.fromEntries(this._fields.map((field) => [field.name, field.read()]))
  }

  // It can be sent, or `why` says why no more, and `offer`, a button, what can be done with what was written.
  allow(isAllowed, why = "", offer = null) {
    const hadFocus = !isAllowed && document.activeElement === this._send
    this._send.hidden = !isAllowed
    setText(this._over, isAllowed ? "" : why)
    if (!isAllowed && offer) {
      if (this._offer.firstChild !== offer) this._offer.replaceChildren(offer)
    } else this._offer.replaceChildren()
    if (hadFocus) (offer ?? this._summary).focus()
  }

  // Opens it with these values, by the names of fields.
  fill(values) {
    this.element.open = true
    for (const { name, control } of this._fields) if (name in values) control.value = values[name]
    this._fields.find(({ name }) => name in values).control.focus()
  }

  clear() {
    this.element.open = false
    for (const { control } of this._fields) if (isWritten(control)) control.value = ""
    this._say(null)
  }

  async _try() {
    if (this._send.disabled || this._send.hidden) return
    this._say(null)
    const unclear = this._fields.find((field) => field.problem())
    if (unclear) {
      unclear.fail(unclear.problem())
      unclear.control.focus()
      return
    }
    this._send.disabled = true
    try {
      await this._run(this.values)
      this.clear()
      const isThere = this._summary.checkVisibility?.() ?? true
      if (isThere) this._summary.focus()
      else this.element.closest("section")?.focus()
    } catch (error) {
      this._say(error)
    } finally {
      this._send.disabled = false
    }
  }

  _say(error) {
    const problems = error instanceof Problem ? error.errors : []
    const others = []
    const wrong = new Map()
    for (const { field, detail, fix } of problems) {
      const at = this._fields.find(({ name }) => name === field)
      const text = withFix(detail ?? error.message, fix)
      if (at) wrong.set(at, text)
      else others.push(text)
    }
    if (error && problems.length === 0) others.push(textOf(error))
    for (const field of this._fields) field.fail(wrong.get(field) ?? "")
    setText(this._failure, others.join(" "))
    this._fields.find((field) => wrong.has(field))?.control.focus()
  }
}

const isWritten = (control) => control.type !== "checkbox" && control.tagName !== "SELECT"
