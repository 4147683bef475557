// What is measured of the finished video, each value with its meaning; and the button that asks for it.
import { isPassing, post, read, textOf } from "../core/api.js"
import { button, el, setText } from "../core/dom.js"
import { plural } from "../core/format.js"
import { hasEnded } from "../job/facts.js"

const LOOK_AGAIN = 2000 // milliseconds, while the video is measured, which no stream tells, or while requests fail
const NAMES = { preview: "The video", refined: "The refined video" }

export class Metrics {
  // `followed`: a FollowedJob.
  constructor(followed) {
    this._followed = followed
    this._notBefore = 0 // when the next request may be made that nobody asked for; Infinity: it would be refused again
    this._told = el("p", { class: "hint", attributes: { role: "status" } })
    this._ask = button("Measure the video", () => this._try(() => post(`${followed.path}/metrics`).then((job) => followed.take(job))))
    this._tables = el("div")
    this.element = el("details", { class: "act", hidden: true, on: { toggle: () => this.update() } },
      el("summary", { textContent: "What was measured" }), this._told, this._ask, this._tables)
  }

  // Looks again and again while the video is measured, and reads the metrics, where somebody looks.
  update() {
    const { job } = this._followed
    const isOver = hasEnded(job)
    this.element.hidden = job.progress.chunks_done === 0 || job.status === "failed"
    if (!this.element.open) return
    const status = job.measurement?.status
    this._forget(`${job.generation} ${status} ${job.measurement?.at}`)
    const isLost = this._notBefore === Infinity // the metrics, if they were measured
    this._ask.hidden = !isOver || status === "waiting" || (status === "measured" && !isLost)
    if (status !== "measured" || this._generation !== job.generation) this._tables.replaceChildren()
    if (status === "measured") {
      if (this._tables.children.length === 0 && performance.now() >= this._notBefore) this._try(() => this._read(job.generation))
      return
    }
    if (this._failure) setText(this._told, this._failure)
    else if (!isOver) setText(this._told, status ? "It is measured once the video is finished." : "It can be measured once the video is finished.")
    else if (status === "failed") setText(this._told, `It could not be measured: ${job.measurement.error.message}.`)
    else setText(this._told, status ? "The video is being measured …" : "Nobody has asked for it.")
    if (isOver && status === "waiting" && performance.now() >= Math.max(this._notBefore, this._followed.readAt + LOOK_AGAIN)) {
      this._try(() => read(this._followed.path, { cache: "no-cache" }).then((read) => this._followed.take(read)))
    }
  }

  // What was refused may be granted once the job is another one. `state` tells which it is.
  _forget(state) {
    if (state === this._state) return
    this._state = state
    this._failure = ""
    this._notBefore = 0
  }

  // One request at a time; of a failure is told until another one succeeds.
  async _try(request) {
    if (this._isBusy) return
    this._isBusy = this._ask.disabled = true
    try {
      await request()
      this._failure = ""
      this._notBefore = 0
    } catch (error) {
      this._failure = textOf(error)
      this._notBefore = isPassing(error) ? performance.now() + LOOK_AGAIN : Infinity
      setText(this._told, this._failure)
    } finally {
      this._isBusy = this._ask.disabled = false
    }
    if (!this._failure) this.update() // else the next look, in a second
  }

  async _read(generation) {
    const { videos } = await read(`${this._followed.path}/metrics`)
    const [first] = Object.values(videos)
    this._generation = generation
    setText(this._told, `${plural(first.num_frames, "frame")}${first.flow ? `, flow ${first.flow}` : ""}.`)
    this._tables.replaceChildren(...Object.entries(videos).flatMap(([variant, video]) => [tableOf(variant, video), notesOf(video)]))
  }
}

// Said by name: on phones rows are laid out in another way, and no row of a table for a screen reader then.
const role = (name) => ({ attributes: { role: name } })

function tableOf(variant, { values }) {
  const rows = Object.values(values).map(({ value, title, meaning, better, decimals }) => el("tr", role("row"),
    el("th", { scope: "row", textContent: title, ...role("rowheader") }), el("td", { class: "number", textContent: numberOf(value, decimals), ...role("cell") }),
    el("td", { class: "hint", ...role("cell"), textContent: better ? `${meaning} ${better === "lower" ? "Lower" : "Higher"} is better.` : meaning })))
  return el("table", { class: "values", ...role("table") }, el("caption", { textContent: NAMES[variant] ?? variant }),
    el("thead", {}, el("tr", {}, ...["Value", "Number", "What it says"].map((name) => el("th", { scope: "col", textContent: name })))),
    el("tbody", {}, ...rows))
}

function notesOf({ notes }) {
  return el("ul", { class: "hint", hidden: notes.length === 0 }, ...notes.map((textContent) => el("li", { textContent })))
}

// As `longtake metrics` writes it; never "-0.00".
export function numberOf(value, decimals) {
  if (value === null) return "–"
  const text = value.toFixed(decimals)
  return Number(text) === 0 ? text.replace("-", "") : text
}
