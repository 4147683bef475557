// Feeds a video element with a job's chunks through Media Source Extensions. Each chunk is a fragmented MP4 that begins
// with its own header and has its place in the video's time, so chunks are appended as they are, in any order.
import { CHUNK_FRAMES, chunkAt, chunksOf, frameSeconds, isMade, secondsTotal, spanOf } from "../job/facts.js"
import { chunkUrl } from "../job/media.js"
import { rest } from "../core/sse.js"

const AHEAD = 40 // seconds of video that are loaded before they are played
const BEHIND = 60 // seconds that are kept after they were played
const SLACK = 20 // seconds more than these before anything is given up
const EDGE = 0.05 // seconds by which the browser's ranges may differ from frames' times
const PAUSES = [500, 1000, 2000, 4000, 8000]

const Source = globalThis.ManagedMediaSource ?? globalThis.MediaSource
const TYPE = (codec) => `video/mp4; codecs="${codec}"`

export const canFeed = () => Boolean(Source?.isTypeSupported(TYPE("avc1.42E01E")))

// `jobOf()` gives the job as it is now. Call `wake()` whenever it has changed. Tells "loaded" and "failure" (`error`).
export class Feed extends EventTarget {
  constructor(video, jobOf, { at, variant }) {
    super()
    this._begin = at // where the video is shown first; null as soon as the browser is there
    this.video = video
    this.variant = variant
    this._jobOf = jobOf
    this._inside = new Map() // by index of chunk: {variant, frames} of what was appended
    this._stop = new AbortController()
    this._wakened = null
    this._isOld = false // what is on the screen is of the variant before
    this._turn = 0 // counts switches of the variant: what was asked for before one is dropped
    this._codec = null
    this._open()
  }

  close() {
    this._stop.abort()
    this.wake()
    this.video.removeAttribute("src")
    this.video.load()
    URL.revokeObjectURL(this._url)
  }

  wake() {
    this._wakened?.()
  }

  // From the playhead on the video shows this variant. What is behind it, and the place, stay.
  show(variant) {
    if (variant === this.variant) return
    this.variant = variant
    this._turn += 1
    this._isOld = true
    this.wake()
  }

  // Seconds of video that can be played from `at` on without a wait.
  secondsAhead(at = this.video.currentTime) {
    const ranges = this.video.buffered
    for (let index = 0; index < ranges.length; index += 1) {
      if (ranges.start(index) <= at + 0.02 && at < ranges.end(index)) return ranges.end(index) - at
    }
    return 0
  }

  get _at() {
    if (this.video.currentTime > 0) this._begin = null
    return this._begin ?? this.video.currentTime
  }

  async _open() {
    this._source = new Source()
    this.video.disableRemotePlayback = true // a managed source needs it
    this._url = URL.createObjectURL(this._source)
    this.video.src = this._url
    await new Promise((done) => this._source.addEventListener("sourceopen", done, { once: true }))
    this.video.addEventListener("seeking", () => { this._begin = null; this.wake() }, { signal: this._stop.signal })
    this.video.addEventListener("timeupdate", () => this.wake(), { signal: this._stop.signal })
    while (!this._stop.signal.aborted) {
      const woken = new Promise((done) => { this._wakened = done })
      const index = this._wanted()
      if (index !== null) await this._load(index)
      else {
        this._end()
        await woken
      }
    }
  }

  // The next chunk to load: the first one from the playhead on that is made, near, and not inside yet.
  _wanted() {
    const job = this._jobOf()
    const at = this._at
    const count = chunksOf(job, this.variant)
    for (let index = Math.max(0, chunkAt(job, at)); index < chunksOf(job, "preview"); index += 1) {
      if (spanOf(job, index).from > at + AHEAD) return null
      if (!this._has(job, index, index < count ? this.variant : "preview")) return index
    }
    return null
  }

  _has(job, index, variant) {
    const frames = this._framesOf(job, index)
    const inside = this._inside.get(index)
    const middle = spanOf(job, index).from + frameSeconds(job, frames / 2)
    return inside?.variant === variant && inside.frames === frames && this.secondsAhead(middle) > 0
  }

  _framesOf(job, index) {
    return Math.min(CHUNK_FRAMES, job.progress.frames_done - index * CHUNK_FRAMES)
  }

  async _load(index) {
    const job = this._jobOf()
    const turn = this._turn
    const variant = index < chunksOf(job, this.variant) ? this.variant : "preview"
    const frames = this._framesOf(job, index)
    const data = await this._fetch(chunkUrl(job, index, variant), frames < CHUNK_FRAMES)
    if (data === null || turn !== this._turn || this._stop.signal.aborted) return
    try {
      await this._append(data)
      this._inside.set(index, { variant, frames })
      this._repaint(index)
      this.dispatchEvent(new Event("loaded"))
      await this._keep(BEHIND, AHEAD, SLACK)
    } catch (error) {
      if (error.name === "QuotaExceededError") await this._makeRoom(index)
      else if (!this._stop.signal.aborted) await this._fail(error)
    }
  }

  // Decoded frames stay until the next chunk, or for ever in a paused video, unless their place is sought again.
  _repaint(index) {
    if (!this._isOld || index !== chunkAt(this._jobOf(), this.video.currentTime)) return
    this._isOld = false
    this.video.currentTime = this.video.currentTime
  }

  // A short last chunk may have been replaced by a longer one under its address.
  async _fetch(url, mayChange) {
    const signal = this._stop.signal
    for (const pause of PAUSES) {
      try {
        const answer = await fetch(url, { signal, cache: mayChange ? "no-cache" : "default" })
        if (answer.ok) return new Uint8Array(await answer.arrayBuffer())
      } catch { /* tried again below */ }
      if (signal.aborted) return null
      await rest(pause, signal)
    }
    await this._fail(new Error("A part of the video cannot be loaded."))
    return null
  }

  async _fail(error) {
    this.dispatchEvent(Object.assign(new Event("failure"), { error }))
    await rest(PAUSES.at(-1), this._stop.signal)
  }

  async _append(data) {
    const codec = codecOf(data)
    if (!this._buffer) this._buffer = this._source.addSourceBuffer(TYPE(codec))
    else if (codec !== this._codec) this._buffer.changeType(TYPE(codec))
    this._codec = codec
    this._buffer.appendBuffer(data)
    await this._updated()
    this._setDuration()
  }

  _updated() {
    return new Promise((done, failed) => {
      const buffer = this._buffer
      const ended = (happen) => () => {
        buffer.removeEventListener("updateend", whole)
        buffer.removeEventListener("error", broken)
        happen()
      }
      const whole = ended(done)
      const broken = ended(() => failed(new Error("The browser cannot play a part of the video.")))
      buffer.addEventListener("updateend", whole)
      buffer.addEventListener("error", broken)
    })
  }

  // The whole length is known before it is made, so that any place of it can be named.
  _setDuration() {
    const total = secondsTotal(this._jobOf())
    if (this._source.readyState === "open" && total !== null && !(this._source.duration >= total && Number.isFinite(this._source.duration))) {
      this._source.duration = total
    }
  }

  // The browser has no room for this chunk. It is nearer to the playhead than all that is behind it in the video, and
  // needed more than what was played.
  async _makeRoom(index) {
    const job = this._jobOf()
    const before = spanOf(job, index).from - this._at
    const hasRoom = await this._keep(0, Math.max(0, before), 0)
    if (!hasRoom) await rest(PAUSES.at(-1), this._stop.signal) // until more was played
  }

  // Gives up whole chunks that are further from the playhead than so many seconds, so that hours of video need no more
  // memory than minutes. True if there were any.
  async _keep(behind, ahead, slack) {
    const job = this._jobOf()
    const at = this._at
    const ranges = this._buffer.buffered
    if (ranges.length === 0) return false
    const from = spanOf(job, Math.max(0, chunkAt(job, at - behind))).from
    const until = spanOf(job, chunkAt(job, at + ahead) + 1).from
    const isBefore = ranges.start(0) + slack + EDGE < from
    const isAfter = ranges.end(ranges.length - 1) > until + slack + EDGE
    if (isBefore) await this._remove(0, from)
    if (isAfter) await this._remove(until, Infinity)
    return isBefore || isAfter
  }

  _remove(from, until) {
    this._buffer.remove(from, until)
    return this._updated()
  }

  // Everything is made and the end is inside: the browser shall show the last frame and stop there.
  _end() {
    const job = this._jobOf()
    const last = job.progress.chunks_done - 1
    if (this._source.readyState !== "open" || !this._buffer || !isMade(job) || last < 0) return
    if (this._has(job, last, last < chunksOf(job, this.variant) ? this.variant : "preview")) this._source.endOfStream()
  }
}

// RFC 6381: avc1 and, in hexadecimal, the three bytes after the version in the box avcC (ISO/IEC 14496-15).
function codecOf(data) {
  const at = data.findIndex((_, i) => data[i] === 97 && data[i + 1] === 118 && data[i + 2] === 99 && data[i + 3] === 67)
  return "avc1." + [...data.slice(at + 5, at + 8)].map((byte) => byte.toString(16).padStart(2, "0")).join("")
}
