// What is known of the job, in words and numbers.
import { withFix } from "../core/api.js"
import { el, setAttribute, setText } from "../core/dom.js"
import { ago, duration, named, plural, soon } from "../core/format.js"
import { jobAddress } from "../core/router.js"
import { hasEnded, secondsMade, secondsTotal } from "../job/facts.js"

const ROWS = {
  Length: ({ job }) => (hasEnded(job) && secondsMade(job) ? duration(secondsMade(job)) : null),
  Playable: ({ job }) => {
    if (hasEnded(job)) return null
    const total = secondsTotal(job)
    const made = duration(secondsMade(job))
    return total === null ? `${made}, no end` : `${made} of ${duration(total)}`
  },
  Ready: ({ job, sinceRead }) => {
    const eta = job.progress.eta_seconds
    return hasEnded(job) || eta === null || sinceRead === null ? null : soon(eta - sinceRead)
  },
  Starts: ({ job, sinceRead }) => {
    const { queue_position: place, starts_in_seconds: seconds } = job.progress
    if (place === null) return null
    return `place ${place}${seconds === null || sinceRead === null ? "" : `, ${soon(seconds - sinceRead)}`}`
  },
  Speed: ({ job }) => {
    const speed = job.progress.realtime_factor
    return speed === null ? null : `${speed.toFixed(speed < 10 ? 2 : 0)} × real time`
  },
  Chunks: ({ job }) => {
    const { chunks_done: done, chunks_total: total } = job.progress
    return total === null ? plural(done, "chunk") : `${done} of ${total}`
  },
  Refined: ({ job }) => {
    const { chunks_refined: done, chunks_total: total } = job.progress
    return done === null ? null : `${done}${total === null ? "" : ` of ${total}`}`
  },
  Model: ({ job }) => job.request.model,
  Seed: ({ job }) => (job.request.seed === null ? null : String(job.request.seed)),
  Rate: ({ job }) => `${job.request.fps} frames per second`,
  Priority: ({ job }) => job.request.priority,
  "Branch of": ({ job }) => job.branched_from && { text: `${job.branched_from.job_id}, from chunk ${job.branched_from.from_chunk + 1}`, href: jobAddress(job.branched_from.job_id) },
  Created: ({ job }) => ago(job.created_at),
  Finished: ({ job }) => (hasEnded(job) && job.finished_at ? ago(job.finished_at) : null),
}

export class FactsPanel {
  constructor() {
    this._rows = Object.entries(ROWS).map(([name, tell]) => {
      const value = el("dd")
      const row = el("div", {}, el("dt", { textContent: name }), value)
      return { row, value, tell }
    })
    this._metadata = el("dl", { class: "facts" })
    this.metadata = el("section", { class: "metadata", hidden: true, attributes: { "aria-label": "Metadata" } }, this._metadata) // may be long
    this._shownMetadata = ""
    this._reason = el("p", { class: "reason" })
    this._warnings = el("ul", { class: "warnings" })
    this.element = el("div", {}, this._reason, this._warnings,
      el("dl", { class: "facts" }, ...this._rows.map(({ row }) => row)))
  }

  // `sinceRead`: seconds since the job was read; null while the connection is lost: what was told of times is old then.
  update(job, sinceRead) {
    for (const { row, value, tell } of this._rows) {
      const text = tell({ job, sinceRead })
      row.hidden = !text
      if (text?.href) link(value, text)
      else if (text) setText(value, text)
    }
    setText(this._reason, job.error ? withFix(job.error.message, job.error.fix) : "")
    const warnings = job.warnings.map(({ message }) => named(message))
    if (warnings.join("\n") !== this._shownWarnings) {
      this._shownWarnings = warnings.join("\n")
      this._warnings.replaceChildren(...warnings.map((text) => el("li", { textContent: text })))
    }
    this._showMetadata(job.request.metadata ?? {})
  }

  _showMetadata(metadata) {
    const text = JSON.stringify(metadata)
    if (text === this._shownMetadata) return
    this._shownMetadata = text
    this.metadata.hidden = Object.keys(metadata).length === 0
    this._metadata.replaceChildren(...Object.entries(metadata).map(([name, value]) =>
      el("div", {}, el("dt", { textContent: name }), el("dd", { textContent: value, attributes: { dir: "auto" } }))))
  }
}

// A link that is there stays, and so does the focus on it.
function link(value, { text, href }) {
  if (!value.firstElementChild) value.replaceChildren(el("a"))
  setAttribute(value.firstElementChild, "href", href)
  setText(value.firstElementChild, text)
}
