// One job in the gallery: a picture that moves while it is pointed at, and how far it is.
import { el, setAttribute, setText } from "../core/dom.js"
import { ago, duration, plural } from "../core/format.js"
import { jobAddress } from "../core/router.js"
import { hasEnded, secondsMade, promptsOf, secondsTotal, statusWord, titleOf } from "../job/facts.js"
import { chunkUrl, fileUrl, thumbnailUrl } from "../job/media.js"

const SMALL = 200

export class Card {
  constructor(job) {
    this._picture = el("img", { alt: "", loading: "lazy", decoding: "async", hidden: true, attributes: { crossorigin: "anonymous" } })
    this._picture.addEventListener("load", () => this._picture.classList.toggle("pixelated", this._picture.naturalWidth < SMALL))
    this._picture.addEventListener("error", () => { this._picture.hidden = true }) // it is tried again at a later tick
    this._badge = el("span", { class: "badge" })
    this._bar = el("span", { class: "bar" })
    this._done = el("span", { class: "done" })
    this._bar.append(this._done)
    this._frame = el("span", { class: "frame" }, this._picture, this._badge, this._bar)
    this._title = el("span", { class: "title", attributes: { dir: "auto" } })
    this._notes = el("span", { class: "notes" })
    this._link = el("a", {
      class: "tile",
      on: { pointerenter: () => this._move(), pointerleave: () => this._rest(), focus: () => this._move(), blur: () => this._rest() },
    }, this._frame, this._title, this._notes)
    this.element = el("li", {}, this._link)
    this.update(job)
  }

  update(job) {
    this.job = job
    this._link.href = jobAddress(job.id)
    setText(this._title, titleOf(job))
    setText(this._badge, statusWord(job))
    setAttribute(this._badge, "data-status", job.status)
    const total = secondsTotal(job)
    const made = secondsMade(job)
    this._bar.hidden = hasEnded(job)
    this._done.style.width = `${100 * (total ? made / total : made ? 1 : 0)}%`
    this._bar.classList.toggle("endless", total === null)
    this.tick()
  }

  focus() {
    this._link.focus({ preventScroll: true })
  }

  tick() {
    const { job } = this
    const total = secondsTotal(job)
    const made = duration(secondsMade(job))
    if (job.progress.chunks_done > 0 && this._picture.hidden) {
      this._picture.src = thumbnailUrl(job)
      this._picture.hidden = false
    }
    const length = hasEnded(job) || total === null ? made : `${made} of ${duration(total)}`
    const prompts = promptsOf(job).length
    const more = [prompts > 1 && plural(prompts, "prompt"), job.branched_from && "branch"].filter(Boolean)
    setText(this._notes, [length, job.request.model, ...more, ago(job.created_at)].join(" · "))
  }

  _move() {
    if (this._video || this.job.progress.chunks_done === 0 || matchMedia("(prefers-reduced-motion: reduce)").matches) return
    const whole = this.job.status === "succeeded"
    this._video = el("video", {
      muted: true, loop: true, playsInline: true, tabIndex: -1, attributes: { "aria-hidden": "true", crossorigin: "anonymous" },
      src: whole ? fileUrl(this.job, "preview") : chunkUrl(this.job, 0, "preview"), class: this._picture.className,
    })
    this._picture.after(this._video)
    this._video.play().catch(() => this._rest())
  }

  _rest() {
    if (!this._video) return
    this._video.removeAttribute("src")
    this._video.load() // ends its request: browsers have six connections to a host
    this._video.remove()
    this._video = null
  }
}
