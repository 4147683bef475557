// Plays a job: begins with its first chunk, waits for the next ones, goes on by itself, and never begins again.
import { isMade, secondsMade, secondsTotal } from "../job/facts.js"
import { playlistUrl } from "../job/media.js"
import { canFeed, Feed } from "./feed.js"
import { secondsNeeded, secondsToWait } from "./pace.js"

const LOOK_AGAIN = 250 // milliseconds; "timeupdate" comes as often, and would double all work
const NEARLY = 0.05 // seconds

// Tells "change" whenever what it says of itself may have changed, "failure" (`error`), and "recovery" after failures.
export class Player extends EventTarget {
  constructor(video, jobOf, { at = 0, variant = "preview" } = {}) {
    super()
    const begin = at < secondsMade(jobOf()) ? at : 0
    this.video = video
    this.wants = true // to play; what the viewer asked for, whatever is there to play
    this.waits = true // for more of the video
    this.smoothly = false
    this._jobOf = jobOf
    this._begun = false
    this._at = begin
    this._stop = new AbortController()
    video.muted = true
    video.playsInline = true
    if (canFeed()) {
      this.feed = new Feed(video, jobOf, { at: begin, variant })
      this.feed.addEventListener("loaded", () => { this._recover(); this._look() })
      this.feed.addEventListener("failure", ({ error }) => this._fail(error))
    }
    const on = (name, act) => video.addEventListener(name, act, { signal: this._stop.signal })
    on("waiting", () => this._dry())
    on("play", () => this._played())
    on("pause", () => this._paused())
    on("loadedmetadata", () => { if (this._at > 0) video.currentTime = this._at })
    for (const name of ["seeking", "seeked", "ended", "playing", "durationchange", "ratechange"]) on(name, () => this._look())
    on("error", () => { if (video.hasAttribute("src")) this._fail(new Error("The browser cannot play this video.")) })
    this._timer = setInterval(() => this._look(), LOOK_AGAIN)
    this.wake()
  }

  close() {
    clearInterval(this._timer)
    this._stop.abort()
    if (this.feed) this.feed.close()
    else this.video.removeAttribute("src")
  }

  get at() {
    return this._begun ? this.video.currentTime : this._at
  }

  get hasEnded() {
    const job = this._jobOf()
    return this.video.ended && isMade(job) && this.video.currentTime > secondsTotal(job) - NEARLY
  }

  // Call it when the job has changed.
  wake() {
    if (this.feed) this.feed.wake()
    else if (!this.video.hasAttribute("src") && this._jobOf().progress.chunks_done > 0) this._playNatively("preview")
    this._look()
  }

  toggle() {
    const again = this.hasEnded
    if (again) this.seek(0)
    this.wants = again || !this.wants
    if (!this.wants) this.video.pause()
    this._look()
  }

  // Only what is made can be shown; a place beyond it means its end.
  seek(seconds) {
    const job = this._jobOf()
    const at = Math.max(0, Math.min(seconds, secondsMade(job) - 1e-3))
    if (this._begun || this.video.readyState > 0) this.video.currentTime = at
    this._at = at
    this._look()
  }

  show(variant) {
    if (this.feed) this.feed.show(variant)
    else {
      this._at = this.video.currentTime
      this._playNatively(variant)
    }
    this._look()
  }

  waitForAll(smoothly) {
    this.smoothly = smoothly
    if (smoothly && this.wants && this._ahead() < this._needed()) this._hold()
    this._look()
  }

  // {needed, there, seconds}: what is waited for and about how long; null if nothing is.
  get wait() {
    if (!this.wants || !this.waits || this.hasEnded) return null
    const needed = this._needed()
    const there = this._ahead()
    return { needed, there, seconds: secondsToWait({ needed, there, speed: this._jobOf().progress.realtime_factor }) }
  }

  _ahead() {
    return this.feed ? this.feed.secondsAhead(this.at) : Infinity
  }

  _needed() {
    const job = this._jobOf()
    const total = secondsTotal(job)
    const speed = job.progress.realtime_factor
    const left = total === null ? null : Math.max(0, total - this.at)
    return secondsNeeded({ left, isMade: isMade(job), speed, begins: !this._begun, smoothly: this.smoothly })
  }

  _look() {
    if (this._stop.signal.aborted) return
    if (this.video.ended && !this.hasEnded) this.waits = true // it was the end, and goes on
    if (this.wants && (this.waits || this.video.paused) && !this.hasEnded && this.video.readyState > 0) this._tryToGoOn()
    this.dispatchEvent(new Event("change"))
  }

  _tryToGoOn() {
    const ahead = this._ahead()
    const isEnough = ahead > 0 && ahead + 1e-3 >= this._needed()
    if (!isEnough || this.video.seeking) return
    if (this.video.ended) {
      this.video.currentTime = this.video.currentTime // else playing again would mean from the beginning
      return
    }
    this.waits = false
    if (this.video.paused) this.video.play().catch((error) => this._refused(error))
  }

  // Browsers may refuse to begin by themselves: then the viewer presses play.
  _refused(error) {
    if (error.name === "NotAllowedError") this.wants = false
    this._look()
  }

  _dry() {
    if (!this.wants || this.video.seeking || this.waits || !this.feed) return
    if (this._ahead() > 0.1) return // the browser only needs a moment
    this._hold()
  }

  _hold() {
    this.waits = true
    this.video.pause()
    this.dispatchEvent(new Event("change"))
  }

  _played() {
    this._begun = true
    this.wants = true
    this.waits = false
    this._look()
  }

  _paused() {
    if (!this.waits && !this.video.ended) this.wants = false // by a media key, for example
    this._look()
  }

  _playNatively(variant) {
    this.video.src = playlistUrl(this._jobOf(), variant)
  }

  _recover() {
    if (this._hasFailed) this.dispatchEvent(new Event("recovery"))
    this._hasFailed = false
  }

  _fail(error) {
    this._hasFailed = true
    this.dispatchEvent(Object.assign(new Event("failure"), { error }))
  }
}
