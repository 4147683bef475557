// The timeline: chunks as they come, what is loaded, and prompts: a picture on a canvas, however many chunks there are. The
// playhead lies on it, so that the picture is drawn only where it changes. A slider for keyboards and screen readers.
import { el, setAttribute, setText } from "../core/dom.js"
import { duration } from "../core/format.js"
import { CHUNK_FRAMES, chunkAt, chunksOf, frameSeconds, promptsOf, secondsMade, secondsTotal } from "../job/facts.js"

const HEIGHT = 52
const CELLS = { top: 10, height: 26 }
const LOADED = { top: 41, height: 3 }
const WIDE_ENOUGH_FOR_GAPS = 5 // pixels of a chunk

// `seek(seconds)` is called when the viewer chooses a place.
export class Timeline {
  constructor(seek) {
    this._seek = seek
    this._canvas = el("canvas", { attributes: { "aria-hidden": "true" } })
    this._playhead = el("div", { class: "playhead" })
    this._tip = el("div", { class: "tip", hidden: true, attributes: { "aria-hidden": "true" } })
    this.element = el("div", {
      class: "timeline", tabIndex: 0, attributes: { role: "slider", "aria-label": "Place in the video", "aria-valuemin": 0 },
      on: {
        keydown: (event) => this._key(event),
        pointerdown: (event) => { this.element.setPointerCapture(event.pointerId); this._seek(this._secondsAt(event)) },
        pointermove: (event) => this._point(event),
        pointerleave: () => { this._tip.hidden = true },
      },
    }, this._canvas, this._playhead, this._tip)
    this._width = 0
    this._colours = new Map() // what a style has is costly to ask for
    this._watcher = new ResizeObserver(([{ contentRect }]) => { this._width = contentRect.width; this._drawAgain() })
    this._watcher.observe(this.element)
    this._scheme = matchMedia("(prefers-color-scheme: dark)")
    this._redraw = () => { this._colours.clear(); this._drawAgain() }
    this._scheme.addEventListener("change", this._redraw)
    document.addEventListener("theme", this._redraw)
  }

  close() {
    this._watcher.disconnect()
    this._scheme.removeEventListener("change", this._redraw)
    document.removeEventListener("theme", this._redraw)
  }

  // `steps`: of FollowedJob; `buffered`: the video's TimeRanges; `variant`: the one that is shown.
  update(shown) {
    this._shown = shown
    const { job, at } = shown
    const total = secondsTotal(job)
    setAttribute(this.element, "aria-valuemax", (total ?? secondsMade(job)).toFixed(1))
    setAttribute(this.element, "aria-valuenow", at.toFixed(1))
    const whole = total === null ? "" : ` of ${duration(total)}`
    setAttribute(this.element, "aria-valuetext", `${duration(at)}${whole}, chunk ${chunkAt(job, at) + 1}`)
    this._draw()
  }

  // A video without end is drawn as if it went on for a few chunks more.
  get _length() {
    const { job } = this._shown
    return secondsTotal(job) || secondsMade(job) * 1.05 + frameSeconds(job, 4 * CHUNK_FRAMES)
  }

  _secondsAt(event) {
    const { left, width } = this._canvas.getBoundingClientRect()
    return Math.max(0, Math.min(1, (event.clientX - left) / width)) * this._length
  }

  _point(event) {
    if (!this._shown) return
    const seconds = this._secondsAt(event)
    if (event.buttons & 1) this._seek(seconds)
    const { job } = this._shown
    const index = chunkAt(job, seconds)
    const state = index < chunksOf(job, "refined") ? "refined" : index < chunksOf(job, "preview") ? "made" : "to come"
    setText(this._tip, `${duration(seconds)} · chunk ${index + 1}, ${state}`)
    this._tip.hidden = false
    const { left, width } = this.element.getBoundingClientRect()
    const half = this._tip.offsetWidth / 2
    this._tip.style.left = `${Math.max(half, Math.min(width - half, event.clientX - left))}px`
  }

  _key(event) {
    if (!this._shown || event.altKey || event.ctrlKey || event.metaKey) return
    const { job, at } = this._shown
    const chunk = frameSeconds(job, CHUNK_FRAMES)
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -chunk, PageUp: chunk }
    const places = { Home: 0, End: secondsMade(job) }
    if (event.key in steps) this._seek(at + steps[event.key])
    else if (event.key in places) this._seek(places[event.key])
    else return
    event.preventDefault()
  }

  _colour(name) {
    if (!this._colours.has(name)) this._colours.set(name, getComputedStyle(this.element).getPropertyValue(`--${name}`).trim())
    return this._colours.get(name)
  }

  _drawAgain() {
    this._drawn = null
    this._draw()
  }

  _draw() {
    const width = this._width
    if (!this._shown || width === 0) return
    this._playhead.style.transform = `translateX(${(this._shown.at / this._length) * width - 1}px)`
    const drawn = pictureOf(this._shown)
    if (drawn.job === this._drawn?.job && drawn.rest === this._drawn.rest) return
    this._drawn = drawn
    const scale = devicePixelRatio || 1
    if (this._canvas.width !== Math.round(width * scale)) {
      this._canvas.width = Math.round(width * scale)
      this._canvas.height = HEIGHT * scale
    }
    const pen = this._canvas.getContext("2d")
    pen.setTransform(scale, 0, 0, scale, 0, 0)
    pen.clearRect(0, 0, width, HEIGHT)
    const colour = (name) => this._colour(name)
    const x = (seconds) => (seconds / this._length) * width
    this._drawCells(pen, x, width, colour)
    this._drawLoaded(pen, x, colour)
    this._drawPrompts(pen, x, colour)
  }

  _drawCells(pen, x, width, colour) {
    const { job, steps } = this._shown
    const seconds = frameSeconds(job, CHUNK_FRAMES)
    const gap = x(seconds) > WIDE_ENOUGH_FOR_GAPS ? 2 : 0
    const made = chunksOf(job, "preview")
    const refined = chunksOf(job, "refined")
    const fill = (from, until, name) => {
      pen.fillStyle = colour(name)
      pen.fillRect(from, CELLS.top, Math.max(1, until - from - gap), CELLS.height)
    }
    const cell = (index, name) => fill(x(index * seconds), Math.min(width + gap, x((index + 1) * seconds)), name)
    if (gap === 0) {
      fill(0, width, "to-come")
      fill(0, x(Math.min(made * seconds, this._length)), "made")
      fill(0, x(Math.min(refined * seconds, this._length)), "refined")
      return
    }
    const count = Math.ceil(this._length / seconds - 1e-6)
    for (let index = 0; index < count; index += 1) {
      cell(index, index < refined ? "refined" : index < made ? "made" : "to-come")
    }
    for (const [lane, name, next] of [["generate", "made", made], ["refine", "refined", refined]]) {
      const step = steps[lane]
      if (!step || step.chunk_index !== next || next >= count) continue
      const from = x(next * seconds)
      const until = Math.min(width, x((next + 1) * seconds)) - gap
      pen.fillStyle = colour(name)
      pen.fillRect(from, CELLS.top, (until - from) * Math.min(1, step.step / (step.steps || 1)), CELLS.height)
      pen.strokeStyle = colour("accent")
      pen.lineWidth = 1
      pen.strokeRect(from + 0.5, CELLS.top + 0.5, Math.max(1, until - from - 1), CELLS.height - 1)
    }
  }

  _drawLoaded(pen, x, colour) {
    const { buffered } = this._shown
    pen.fillStyle = colour("loaded")
    for (let index = 0; index < buffered.length; index += 1) {
      pen.fillRect(x(buffered.start(index)), LOADED.top, x(buffered.end(index) - buffered.start(index)), LOADED.height)
    }
  }

  _drawPrompts(pen, x, colour) {
    pen.fillStyle = colour("text")
    for (const { start_frame: frame } of promptsOf(this._shown.job).slice(1)) {
      const at = x(frameSeconds(this._shown.job, frame))
      pen.fillRect(at - 0.5, 2, 1, CELLS.top + CELLS.height - 2)
      pen.beginPath()
      pen.moveTo(at, 8)
      pen.lineTo(at - 4, 1)
      pen.lineTo(at + 4, 1)
      pen.fill()
    }
  }
}

// What the picture follows from: while these are the same, so is it.
function pictureOf({ job, steps, buffered }) {
  const loaded = Array.from({ length: buffered.length }, (_, index) => [buffered.start(index), buffered.end(index)])
  return { job, rest: JSON.stringify([steps, loaded]) }
}
