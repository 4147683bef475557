// A whole video in two pictures, made here from its chunks: a contact sheet, and an x-t slice (one row of pixels of each
// frame, side by side: what moves is a slanted line, what jumps at the seam of two chunks a step). They grow with the job.
import { el, setAttribute, setText } from "../core/dom.js"
import { duration, plural } from "../core/format.js"
import { frameSeconds, hasEnded } from "../job/facts.js"
import { Frames } from "./frames.js"

const MOST_COLUMNS = 256
const MOST_CELLS = 24
const CELL_WIDTH = 128 // pixels
const SLICE_SIDE = 256 // pixels, the most that a row of the video has here

// The smallest power of two by which `count` is thinned out to at most `most`.
export function stride(count, most) {
  let step = 1
  while (Math.ceil(count / step) > most) step *= 2
  return step
}

// Frames for which there is room in the pictures. A job without an end gets twice as much whenever it is full.
function wholeOf(job) {
  const { frames_done: done, frames_total: total } = job.progress
  if (hasEnded(job)) return done
  return total ?? Math.max(64, 2 ** Math.ceil(Math.log2(done)))
}

export class Pictures {
  // `seek(seconds)` goes to a place of the video that is watched.
  constructor(jobOf, seek) {
    this._jobOf = jobOf
    this._seek = seek
    this._cells = el("div", { class: "sheet" })
    this._slice = el("canvas", { class: "slice", attributes: { role: "img" } })
    this._told = el("p", { class: "hint", attributes: { role: "status" } })
    this._row = el("input", { type: "range", min: 0, max: 100, value: 50, id: "slice-row", onchange: () => this._again() })
    this.element = el("details", { class: "act pictures", on: { toggle: () => this._toggle() } },
      el("summary", { textContent: "Contact sheet and x-t slice" }), this._told, this._cells, this._slice,
      el("div", { class: "row" }, el("label", { htmlFor: "slice-row", textContent: "Row of the slice, from top to bottom" }), this._row))
  }

  close() {
    this._frames?.close()
    this._frames = null
  }

  // Call it when the job has changed.
  update() {
    if (this._frames) this._frames.wake()
    this.element.hidden = this._jobOf().progress.chunks_done === 0
  }

  _toggle() {
    if (this.element.open) this._again()
    else this.close()
  }

  _again() {
    this.close()
    this._cells.replaceChildren()
    this._whole = null
    this._frames = new Frames(this._jobOf, {
      next: () => this._next(),
      take: (number, video) => this._take(number, video),
      failed: (text) => setText(this._told, text),
    })
  }

  // The number of the frame to take now; null: nothing before the job has changed.
  _next() {
    const { frames_done: done } = this._jobOf().progress
    const whole = wholeOf(this._jobOf())
    if (whole !== this._whole) this._begin(whole)
    return this._at < done ? this._at : null
  }

  _begin(whole) {
    this._whole = whole
    this._at = 0
    this._step = stride(whole, MOST_COLUMNS)
    this._cellStep = this._step * stride(Math.ceil(whole / this._step), MOST_CELLS)
    this._cells.replaceChildren()
    this._slice.width = Math.ceil(whole / this._step)
    this._slice.height = SLICE_SIDE
  }

  _take(number, video) {
    if (number % this._cellStep === 0) this._addCell(number, video)
    this._addColumn(number / this._step, video)
    this._at = number + this._step
    const taken = this._at / this._step
    const { frames_done: done } = this._jobOf().progress
    const which = this._step === 1 ? plural(taken, "frame") : `${plural(taken, "frame")}, one of each ${this._step}`
    const text = this._at < done ? `Reading: ${which} …` : `${which}. Choose a picture to go there.`
    setText(this._told, text)
    setAttribute(this._slice, "aria-label", `x-t slice: one row of pixels of ${which}, time to the right`)
  }

  _addCell(number, video) {
    const seconds = frameSeconds(this._jobOf(), number)
    const canvas = el("canvas", { width: CELL_WIDTH, height: Math.round((CELL_WIDTH * video.videoHeight) / video.videoWidth) })
    canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height)
    const time = duration(seconds)
    this._cells.append(el("button", { type: "button", attributes: { "aria-label": `Go to ${time}` }, onclick: () => this._seek(seconds) },
      canvas, el("span", { class: "time", textContent: time })))
  }

  // The row is turned, so that time goes to the right as it does on the timeline.
  _addColumn(column, video) {
    const pen = this._slice.getContext("2d")
    const row = Math.min(video.videoHeight - 1, Math.floor((Number(this._row.value) / 100) * video.videoHeight))
    pen.setTransform(0, 1, 1, 0, column, 0)
    pen.drawImage(video, 0, row, video.videoWidth, 1, 0, 0, SLICE_SIDE, 1)
  }
}
