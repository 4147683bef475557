// The view of one job: "#/jobs/ID". Watch it while it is made; everything else about it is beside the video.
import { isPassing, needsKey, textOf } from "../core/api.js"
import { el, setAttribute, setText } from "../core/dom.js"
import { duration, soon } from "../core/format.js"
import { enterKey } from "../core/header.js"
import { place, remember } from "../core/router.js"
import { say } from "../core/say.js"
import { rest } from "../core/sse.js"
import { END_OF_SENTENCES, hasEnded, isMade, secondsMade, secondsTotal, statusWord, titleOf, promptsOf } from "../job/facts.js"
import { FollowedJob } from "../job/follow.js"
import { hasWorker, noWorker } from "../job/models.js"
import { Controls } from "./controls.js"
import { FactsPanel } from "./facts_panel.js"
import { Metrics } from "./metrics.js"
import { Pictures } from "./pictures.js"
import { Player } from "./player.js"
import { Share } from "./share.js"
import { Steer } from "./steer.js"
import { Prompts } from "./prompts.js"
import { Timeline } from "./timeline.js"
import { Timings } from "./timings.js"

const SMALL = 200 // pixels of width below which a video is shown with hard pixels rather than blurred
const AGAIN = 3000 // milliseconds until a job is read again that could not be read
const REMEMBER_EACH = 3 // seconds of video
const LOOK_EACH = 5000 // milliseconds, at a queue, of which no event tells
const ROOM_BESIDE = "(min-width: 1000px)" // as in watch.css

export class WatchView {
  constructor(id) {
    const { query } = place()
    this.title = "Watch"
    this._variant = query.get("v") === "refined" ? "refined" : "preview"
    this._begin = Math.max(0, Number(query.get("t")) || 0)
    this._followed = new FollowedJob(id)
    this._heading = el("h1", { tabIndex: -1, textContent: "Reading the job …", attributes: { dir: "auto" } })
    this._badge = el("span", { class: "badge" })
    this._outage = el("p", { class: "outage", hidden: true, textContent: "The connection is lost; trying again …" })
    this._video = el("video", { class: "screen", attributes: { "aria-label": "The video", crossorigin: "anonymous" } })
    this._wait = el("div", { class: "wait", hidden: true })
    this._failure = el("p", { class: "reason", attributes: { role: "alert" } })
    this._summary = el("p", { class: "summary" })
    this._legend = el("p", { class: "legend", attributes: { "aria-hidden": "true" } },
      ...["made", "refined", "being made", "to come", "loaded", "prompt"].map((name) => el("span", { class: name.replace(" ", "-"), textContent: name })))
    this._facts = new FactsPanel()
    this._body = el("div", { class: "watch", hidden: true })
    this.element = el("div", {}, el("div", { class: "heading" }, this._heading, this._badge), this._outage, this._failure, this._body)
    this._open()
  }

  close() {
    this._isClosed = true
    this._stop()
  }

  // The address was changed to another place of this job.
  move(query) {
    if (!this._player) return
    const variant = query.get("v") === "refined" ? "refined" : "preview"
    if (variant !== this._variant) this._show(variant)
    if (Number(query.get("t")) > 0) this._player.seek(Number(query.get("t")))
  }

  _stop() {
    clearInterval(this._timer)
    clearInterval(this._queueTimer)
    this._room?.removeEventListener("change", this._arrange)
    this._followed.close()
    this._player?.close()
    this._timeline?.close()
    this._pictures?.close()
  }

  get _job() {
    return this._followed.job
  }

  async _open() {
    const followed = this._followed
    followed.addEventListener("lost", ({ error }) => this._lose(error))
    while (!this._isClosed && followed.job === null) {
      try {
        await followed.open()
      } catch (error) {
        if (this._isClosed) return
        if (!isPassing(error)) return this._lose(error)
        setText(this._heading, "The job cannot be read yet")
        setText(this._failure, textOf(error))
        await rest(AGAIN)
      }
    }
    if (this._isClosed) return
    setText(this._failure, "")
    this._build()
    followed.addEventListener("change", () => { this._player.wake(); this._say(); this._update() })
    followed.addEventListener("connection", () => { this._outage.hidden = followed.connected })
    this._timer = setInterval(() => this._update(), 1000)
    this._queueTimer = setInterval(() => this._lookAtQueue(), LOOK_EACH)
    this._update()
    this._lookAtQueue()
  }

  _lose(error) {
    this._stop()
    this._body.hidden = true
    this._outage.hidden = true
    setText(this._badge, "")
    setText(this._heading, error.status === 404 ? "There is no such job" : "The job cannot be shown")
    document.title = `${this._heading.textContent} · Longtake`
    setText(this._failure, error.status === 404 ? "It was deleted, or the address is wrong." : textOf(error))
    if (needsKey(error)) this._body.after(enterKey())
    else this._body.after(el("p", {}, el("a", { href: "#/", textContent: "To all videos" })))
    say(this._heading.textContent)
  }

  // Of a place in the queue no event tells, nor of workers that come and go.
  async _lookAtQueue() {
    const { model } = this._job.request
    if (document.hidden || this._job.progress.queue_position === null) return
    try {
      await this._followed.look()
      this._isUnserved = this._job.progress.starts_in_seconds === null && !(await hasWorker(model))
    } catch {
      return // the stream tells of an outage
    }
    if (!this._isClosed && !this._body.hidden) this._update()
  }

  _build() {
    const jobOf = () => this._job
    const stage = el("div", { class: "stage" }, this._video, this._wait)
    this._player = new Player(this._video, jobOf, { at: this._begin, variant: this._variant })
    this._timeline = new Timeline((seconds) => this._player.seek(seconds))
    this._prompts = new Prompts((seconds) => this._player.seek(seconds))
    this._controls = new Controls(this._player, { whole: () => player, jobOf, show: (variant) => this._show(variant) })
    const player = el("div", { class: "player", tabIndex: -1 }, stage, this._timeline.element, this._controls.element) // a click gives it the focus, and so its keys
    stage.addEventListener("click", () => this._player.toggle())
    player.addEventListener("keydown", (event) => { if (this._controls.key(event)) event.preventDefault() })
    this._player.addEventListener("change", () => this._update())
    this._player.addEventListener("failure", ({ error }) => setText(this._failure, error.message))
    this._player.addEventListener("recovery", () => setText(this._failure, ""))
    this._video.addEventListener("resize", () => this._video.classList.toggle("pixelated", this._video.videoWidth < SMALL))
    this._steer = new Steer(this._followed, () => this._player.at)
    this._share = new Share(jobOf, () => this._remember(this._player.at))
    this._pictures = new Pictures(jobOf, (seconds) => this._player.seek(seconds))
    this._timings = new Timings(this._followed)
    this._metrics = new Metrics(this._followed)
    for (const { element } of [this._timings, this._metrics]) element.classList.add("measured")
    const below = el("div", { class: "row below" }, this._summary, this._legend)
    const side = el("div", { class: "side" }, this._facts.element, this._share.element, this._facts.metadata)
    this._body.append(el("div", { class: "main" }, player, below, this._prompts.element,
      this._pictures.element, this._timings.element, this._metrics.element), side)
    this._room = matchMedia(ROOM_BESIDE)
    this._arrange = () => this._placeSteer(below)
    this._room.addEventListener("change", this._arrange)
    this._arrange()
    this._body.hidden = false
  }

  // What steers is beside the video, or where there is no room next below it, for eyes and for the Tab key.
  _placeSteer(below) {
    const { element } = this._steer
    const focused = element.contains(document.activeElement) ? document.activeElement : null
    if (this._room.matches) this._facts.element.after(element)
    else below.after(element)
    focused?.focus({ preventScroll: true })
  }

  _show(variant) {
    this._variant = variant
    this._player.show(variant)
    remember({ v: variant === "preview" ? null : variant })
    this._update()
  }

  _update() {
    const job = this._job
    const player = this._player
    const at = player.at
    setText(this._heading, titleOf(job))
    const title = `${titleOf(job)} · Longtake`
    if (document.title !== title) document.title = title
    setText(this._badge, statusWord(job))
    setAttribute(this._badge, "data-status", job.status)
    this._timeline.update({ job, at, steps: this._followed.steps, buffered: this._video.buffered, variant: this._variant })
    this._controls.update(this._variant)
    this._prompts.update(job, at)
    this._facts.update(job, this._followed.connected ? (performance.now() - this._followed.readAt) / 1000 : null)
    const isEmpty = hasEnded(job) && job.progress.chunks_done === 0
    for (const part of [this._timeline.element, this._controls.element, this._legend]) part.hidden = isEmpty
    this._showLegend(job)
    this._steer.update()
    this._share.update()
    this._pictures.update()
    this._timings.update()
    this._metrics.update()
    setText(this._summary, summaryOf(job, this._followed.steps, this._isUnserved))
    this._showWait()
    if (Math.abs(at - (this._remembered ?? this._begin)) >= REMEMBER_EACH || player.hasEnded) this._remember(at)
  }

  // Of what the timeline has.
  _showLegend(job) {
    const shown = { refined: job.progress.chunks_refined !== null, "being-made": !isMade(job), "to-come": !isMade(job), prompt: promptsOf(job).length > 1 }
    for (const [name, isShown] of Object.entries(shown)) this._legend.querySelector(`.${name}`).hidden = !isShown
  }

  _remember(at) {
    this._remembered = at
    remember({ t: at > 0.5 && !this._player.hasEnded ? at.toFixed(1) : null })
  }

  _showWait() {
    const wait = this._player.wait
    const text = wait ? waitText(this._job, wait, { at: this._player.at, steps: this._followed.steps, isUnserved: this._isUnserved }) : ""
    this._wait.hidden = !text
    setText(this._wait, text)
  }

  // What a screen reader is told: how the job is, not each of its steps.
  _say() {
    const { status } = this._job
    if (status === this._said) return
    if (this._said !== undefined) say(END_OF_SENTENCES[status] ?? `The job is ${statusWord(this._job)}.`)
    this._said = status
  }
}

// "Chunk 3 of 6: step 2 of 8. Refining chunk 1: step 4 of 8."
function summaryOf(job, steps, isUnserved) {
  const { chunks_total: total, queue_position: queued } = job.progress
  if (queued !== null && isUnserved) return noWorker(job.request.model)
  if (queued !== null) return queued === 1 ? "Next to start." : `Place ${queued} in the queue.`
  if (hasEnded(job)) return ""
  const parts = []
  const { generate, refine } = steps
  const next = job.progress.chunks_done
  if (job.progress.preparing) parts.push("The input is being read.")
  else if (!isMade(job)) {
    const step = generate?.chunk_index === next ? `: step ${generate.step} of ${generate.steps}` : ""
    parts.push(`Making chunk ${next + 1}${total === null ? "" : ` of ${total}`}${step}.`)
  }
  if (refine) parts.push(`Refining chunk ${refine.chunk_index + 1}: step ${refine.step} of ${refine.steps}.`)
  return parts.join(" ") || "The last pieces are put together."
}

function waitText(job, { needed, there, seconds }, { at, steps, isUnserved }) {
  if (hasEnded(job) && job.progress.chunks_done === 0) return "There is nothing to play."
  if (job.progress.chunks_done === 0) return summaryOf(job, steps, isUnserved)
  if (there >= needed) return ""
  if (secondsMade(job) - at >= needed) return "Loading …"
  if (isMade(job)) return ""
  if (job.progress.queue_position !== null) return queueText(job, isUnserved)
  const total = secondsTotal(job)
  const speed = job.progress.realtime_factor
  const why = speed !== null && speed < 1 ? "It is made more slowly than it plays. " : ""
  const missing = total === null ? needed - there : Math.min(needed, total) - there
  return `${why}Waiting for ${duration(Math.max(0, missing))} more video${seconds === null ? "" : `, ready ${soon(seconds)}`}.`
}

// Of an extension that waits for its turn.
function queueText(job, isUnserved) {
  const starts = job.progress.starts_in_seconds
  const told = summaryOf(job, {}, isUnserved)
  return starts === null ? told : `${told.replace(/\.$/, "")}: it goes on ${soon(starts)}.`
}
