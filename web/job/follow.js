// One job as it is now: read once, then kept up to date by its event stream until it ends.
import { read } from "../core/api.js"
import { follow, rest } from "../core/sse.js"
import { hasEnded } from "./facts.js"

const READ_AGAIN = 700 // milliseconds: chunks of a quick model come faster than anybody reads
const STEPS_EACH = 400 // milliseconds

// Tells "change" (the job, or the step of its piece in work), "connection" (`connected`) and "lost" (`error`).
export class FollowedJob extends EventTarget {
  constructor(id) {
    super()
    this.id = id
    this.job = null
    this.readAt = 0
    this.steps = {} // by lane, of the piece in work: {chunk_index, step, steps}
    this.connected = true
    this._stop = new AbortController()
    this._reading = null
    this._streaming = false
  }

  get path() {
    return `jobs/${encodeURIComponent(this.id)}`
  }

  // Reads the job; resolves with it. Throws Problem.
  async open() {
    await this._read()
    this._listen()
    return this.job
  }

  close() {
    this._stop.abort()
  }

  // Takes an answer that has the job, for example to a change that was asked for here.
  take(job) {
    if (job.id !== this.id || (this.job && job.version < this.job.version)) return
    const { acts_from_frame: _, ...rest } = job
    this.job = rest
    this.readAt = performance.now()
    if (hasEnded(job)) this.steps = {}
    this._tell("change")
    this._listen()
  }

  async _read() {
    this.take(await read(this.path, { signal: this._stop.signal, cache: "no-cache" }))
  }

  // Reads it now, for what no event tells of. Throws Problem.
  async look() {
    await this._read()
  }

  // Reads soon, once for all that happens until then.
  _readSoon() {
    this._reading ??= (async () => {
      await rest(READ_AGAIN, this._stop.signal)
      this._reading = null
      if (!this._stop.signal.aborted) await this._read().catch((error) => this._fail(error))
    })()
  }

  async _listen() {
    if (this._streaming || this._stop.signal.aborted || hasEnded(this.job)) return
    this._streaming = true
    let failure = null
    try {
      while (!this._stop.signal.aborted && !hasEnded(this.job)) {
        await follow(`${this.path}/events`, {
          signal: this._stop.signal,
          tell: (event) => this._take(event),
          look: async () => { await this._read(); return hasEnded(this.job) },
          state: (connected) => this._connection(connected),
        })
        if (!this._stop.signal.aborted) await this._read()
      }
    } catch (error) {
      failure = error
    }
    this._streaming = false
    if (failure) this._fail(failure)
  }

  _take({ event, data }) {
    if (event === "job.progress") {
      this.steps[data.lane] = data
      this._tellOfStepsSoon()
      return
    }
    if (event === "chunk.completed" || event === "chunk.refined") this._count(event, data.data)
    this._readSoon()
  }

  // Small models make many steps a second: to draw each of them costs more than to play the video, and nobody reads them.
  _tellOfStepsSoon() {
    this._telling ??= rest(STEPS_EACH, this._stop.signal).then(() => {
      this._telling = null
      if (!this._stop.signal.aborted) this._tell("change")
    })
  }

  // Before the job is read again: what is new can be played at once.
  _count(event, { version, frames_done: frames, chunk }) {
    const { progress } = this.job
    const changed = event === "chunk.refined"
      ? { chunks_refined: Math.max(progress.chunks_refined ?? 0, chunk.index + 1) }
      : { chunks_done: Math.max(progress.chunks_done, chunk.index + 1), frames_done: Math.max(progress.frames_done, frames) }
    this.job = { ...this.job, version: Math.max(this.job.version, version), progress: { ...progress, ...changed } }
    delete this.steps[event === "chunk.refined" ? "refine" : "generate"]
    this._tell("change")
  }

  _connection(connected) {
    if (connected === this.connected) return
    this.connected = connected
    if (connected) this._readSoon()
    this._tell("connection")
  }

  _fail(error) {
    if (this._stop.signal.aborted) return
    if (error.status === 404 || error.status === 401 || error.status === 403) {
      this.dispatchEvent(Object.assign(new Event("lost"), { error }))
    } else if (!this._streaming || this.connected) { // else it is read when the connection is back
      rest(2000, this._stop.signal).then(() => this._readSoon())
    }
  }

  _tell(name) {
    this.dispatchEvent(new Event(name))
  }
}
