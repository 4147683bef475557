// Forms beside the video: each asks the API for one thing, and says at its fields what is wrong.
import { Problem, textOf, withFix } from "../core/api.js"
import { el, setText } from "../core/dom.js"

// A form that calls `run(values)` when it is sent; `fields`: of make/fields.js. It is closed until it is asked for.
export class Act {
  constructor(title, { fields = [], text, run, hint = "" }) {
    this._fields = fields
    this._run = run
    this._failure = el("p", { class: "field-error", attributes: { role: "alert" } })
    this._send = el("button", { textContent: text })
    const form = el("form", { noValidate: true }, hint ? el("p", { class: "hint", textContent: hint }) : null,
      ...fields.map(({ element }) => element), this._failure, this._send)
    form.addEventListener("submit", (event) => { event.preventDefault(); this._try() })
    this._summary = el("summary", { textContent: title })
    this.element = el("details", { class: "act" }, this._summary, form)
  }

  set hidden(hidden) {
    this.element.hidden = hidden
  }

  async _try() {
    if (this._send.disabled) return
    this._say(null)
    const unclear = this._fields.find((field) => field.problem())
    if (unclear) {
      unclear.fail(unclear.problem())
      unclear.control.focus()
      return
    }
    this._send.disabled = true
    try {
      await this._run(Object.fromEntries(this._fields.map((field) => [field.name, field.read()])))
      this.element.open = false
      for (const { control } of this._fields) if (control.type !== "checkbox" && control.tagName !== "SELECT") control.value = ""
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
