// How long the video shall be: seconds, frames, or without end.
import { el, setText } from "../core/dom.js"
import { rate } from "../core/format.js"
import { Field } from "./fields.js"

export class LengthField {
  constructor(changed) {
    const number = el("input", { type: "number", min: 1, step: "any", inputMode: "decimal" })
    this._unit = el("select", { attributes: { "aria-label": "Unit of the length" } },
      ...[["seconds", "seconds"], ["num_frames", "frames"], ["endless", "no end"]].map(([value, text]) => el("option", { value, textContent: text })))
    this._field = new Field("num_frames", "Length", number)
    this._number = number
    number.after(this._unit)
    this._field.element.classList.add("length")
    this._unit.addEventListener("change", () => { this._show(); changed() })
  }

  get element() {
    return this._field.element
  }

  names(field) {
    return field === "num_frames" || field === "seconds"
  }

  fail(text) {
    this._field.fail(text)
  }

  problem() {
    return this._number.disabled ? "" : this._field.problem()
  }

  // The model's default length is what an empty field means.
  use(model) {
    this._model = model
    const endless = this._unit.querySelector("[value=endless]")
    endless.disabled = !model.capabilities.endless
    if (endless.disabled && this._unit.value === "endless") this._unit.value = "seconds"
    this._show()
  }

  // {unit, number}: what is written.
  get written() {
    return { unit: this._unit.value, number: this._number.value }
  }

  // Before a model is used.
  put({ unit, number }) {
    this._unit.value = unit
    this._number.value = number
  }

  body() {
    const unit = this._unit.value
    if (unit === "endless") return { num_frames: null }
    return this._number.value.trim() === "" ? {} : { [unit]: Number(this._number.value) }
  }

  _show() {
    const { num_frames: frames, fps } = this._model.defaults
    const isEndless = this._unit.value === "endless"
    this._number.disabled = isEndless
    const usual = this._unit.value === "seconds" ? frames / rate(fps) : frames
    this._number.placeholder = isEndless || frames === null ? "" : String(Math.round(usual * 10) / 10)
    this._field.hint = isEndless ? "it goes on until you stop it" : ""
  }
}
