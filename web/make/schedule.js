// Prompts that begin later in the video: each with the second at which it begins.
import { button, el, iconButton } from "../core/dom.js"
import { CLOSE } from "../core/icons.js"
import { Field, numberField } from "./fields.js"

export class Schedule {
  // `changed()` is called when there is another value.
  constructor(changed) {
    this._changed = changed
    this._rows = []
    this._next = 2
    this._list = el("div", { class: "schedule" })
    this._add = button("Then another prompt", () => this._more())
    this.element = el("div", { class: "field wide" }, this._list, el("div", { class: "row" }, this._add))
  }

  // Fields with the names that the API's errors give them.
  get fields() {
    return this._rows.flatMap(({ text, start }) => [text, start])
  }

  // Whether a row has one of its two values only.
  get isIncomplete() {
    return this._rows.some(({ text, start }) => (text.read() === undefined) !== (start.read() === undefined))
  }

  set allowed(isAllowed) {
    this.element.hidden = !isAllowed
    if (!isAllowed) this._clear()
  }

  // `prompts` of a request that begins with `first`; null where there is one prompt only. A row that nobody has filled in
  // is left out.
  prompts(first, fps) {
    const filled = this._rows.filter(({ text, start }) => text.read() !== undefined || start.read() !== undefined)
    for (const field of this.fields) field.name = ""
    if (filled.length === 0) return null
    const later = filled.map(({ text, start }, index) => {
      text.name = `prompts[${index + 1}].text`
      start.name = `prompts[${index + 1}].start_frame`
      const frame = Math.round((start.read() ?? 0) * fps)
      start.hint = `frame ${frame}` // the API's errors count frames
      return { start_frame: frame, text: text.read() ?? "" }
    })
    return [{ start_frame: 0, text: first ?? "" }, ...later]
  }

  _more() {
    const number = this._next
    this._next += 1 // names stay what they are when one before is left out
    const text = new Field("", `Prompt ${number}`, el("textarea", { rows: 1, maxLength: 4000, attributes: { dir: "auto" } }))
    const start = numberField("", `From second (prompt ${number})`, { min: 0 })
    const row = { text, start, element: el("div", { class: "later" }, start.element, text.element,
      iconButton(CLOSE, `Leave out prompt ${number}`, () => this._remove(row))) }
    this._rows.push(row)
    this._list.append(row.element)
    start.control.focus()
  }

  _remove(row) {
    this._rows.splice(this._rows.indexOf(row), 1)
    row.element.remove()
    this._add.focus()
    this._changed()
  }

  _clear() {
    this._rows = []
    this._list.replaceChildren()
  }
}
