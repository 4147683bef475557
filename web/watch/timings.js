// What is measured of a job: where the time of its chunks went, phase by phase.
import { read, textOf } from "../core/api.js"
import { el, setText } from "../core/dom.js"
import { plural } from "../core/format.js"

const LATEST = 100 // chunks that are counted
const WAITING = "queue"
const ORDER = ["load", null, "encode", "upload", "commit"] // null: the model's own phases

export class Timings {
  // `followed`: a FollowedJob.
  constructor(followed) {
    this._followed = followed
    this._told = el("p", { class: "hint", attributes: { role: "status" } })
    this._rows = el("tbody")
    this._table = el("table", { hidden: true }, el("caption", { class: "unseen", textContent: "Seconds of a chunk by phase" }),
      el("thead", {}, el("tr", {}, ...["Phase", "Seconds a chunk", "Share"].map((name) => el("th", { scope: "col", textContent: name })))), this._rows)
    this.element = el("details", { class: "act", on: { toggle: () => this.update() } },
      el("summary", { textContent: "Where the time went" }), this._told, this._table)
  }

  // Reads the chunks again where there are more than before, and somebody looks.
  update() {
    const { chunks_done: count } = this._followed.job.progress
    this.element.hidden = count === 0
    if (this.element.open && count !== this._count && !this._reading) this._read(count)
  }

  async _read(count) {
    this._reading = true
    try {
      const { chunks } = await read(`${this._followed.path}/chunks?after=${Math.max(-1, count - LATEST - 1)}&limit=${LATEST}`)
      this._show(chunks)
      this._count = count
    } catch (error) {
      setText(this._told, textOf(error))
    } finally {
      this._reading = false
    }
  }

  _show(chunks) {
    const means = phasesOf(chunks)
    const waited = means.get(WAITING)
    const phases = inOrder([...means].filter(([name]) => name !== WAITING))
    const whole = phases.reduce((sum, [, seconds]) => sum + seconds, 0)
    const speed = this._followed.job.progress.realtime_factor
    const factor = speed === null ? "" : ` ${speed.toFixed(2)} s of video were made a second.`
    setText(this._told, `The mean of the newest ${plural(chunks.length, "chunk")}.${factor}${waited === undefined ? "" : ` Before it was made, each waited ${waited.toFixed(3)} s.`}`)
    this._rows.replaceChildren(...phases.map(([name, seconds]) => el("tr", {},
      el("th", { scope: "row", textContent: name.replaceAll("_", " ") }), el("td", { textContent: seconds.toFixed(3) }),
      el("td", { textContent: whole ? `${Math.round((100 * seconds) / whole)} %` : "" }))))
    this._table.hidden = phases.length === 0
  }
}

// As they follow each other.
function inOrder(phases) {
  const place = ([name]) => (ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.indexOf(null))
  return phases.sort((one, other) => place(one) - place(other))
}

// Mean seconds by phase, in the order in which chunks name them; a chunk without a phase spent nothing on it.
export function phasesOf(chunks) {
  const sums = new Map()
  for (const { timings } of chunks) {
    for (const [name, seconds] of Object.entries(timings)) sums.set(name, (sums.get(name) ?? 0) + seconds)
  }
  return new Map([...sums].map(([name, sum]) => [name, sum / chunks.length]))
}
