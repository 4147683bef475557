// The prompts of a video, each with the time from which it acts. Choosing one goes there.
import { el, setAttribute, setText } from "../core/dom.js"
import { duration } from "../core/format.js"
import { frameSeconds, promptsOf } from "../job/facts.js"

export class Prompts {
  constructor(seek) {
    this._seek = seek
    this._rows = []
    this._list = el("ol", { class: "prompts" })
    this.element = el("section", { class: "prompt-schedule" }, el("h2", { textContent: "Prompts" }), this._list)
  }

  update(job, at) {
    const prompts = promptsOf(job)
    while (this._rows.length > prompts.length) this._rows.pop().item.remove()
    while (this._rows.length < prompts.length) this._add()
    const starts = prompts.map(({ start_frame: frame }) => frameSeconds(job, frame))
    const current = starts.findLastIndex((start) => start <= at + 1e-3)
    prompts.forEach(({ text }, index) => {
      const row = this._rows[index]
      row.start = starts[index]
      setText(row.time, duration(starts[index]))
      setText(row.text, text || "Without a prompt")
      setAttribute(row.item, "aria-current", index === current ? "true" : null)
    })
  }

  _add() {
    const row = { start: 0, time: el("span", { class: "time" }), text: el("span", { attributes: { dir: "auto" } }) }
    const control = el("button", { type: "button", onclick: () => this._seek(row.start) }, row.time, " ", row.text)
    row.item = el("li", {}, control)
    this._rows.push(row)
    this._list.append(row.item)
  }
}
