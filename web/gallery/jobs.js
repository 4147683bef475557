// The jobs that the gallery knows: pages of the list, and what one event stream tells of all of them.
import { read } from "../core/api.js"
import { follow } from "../core/sse.js"

const PAGE = 24

// Tells "change", "connection" (`connected`) and "failure" (`error`).
export class Jobs extends EventTarget {
  constructor(status) {
    super()
    this.status = status // only jobs in this one; "" for all
    this.connected = true
    this.isWhole = false // there are no more pages
    this._byId = new Map()
    this._cursor = null
    this._reading = null
    this._stop = new AbortController()
    this._listen()
  }

  close() {
    this._stop.abort()
  }

  // Newest first.
  get all() {
    return [...this._byId.values()].sort((one, other) => (one.created_at < other.created_at ? 1 : -1))
  }

  get isRead() {
    return this._cursor !== null || this.isWhole
  }

  more() {
    if (this.isWhole || this._stop.signal.aborted) return Promise.resolve()
    this._reading ??= this._read(this._cursor).finally(() => { this._reading = null })
    return this._reading
  }

  async _read(cursor) {
    const query = new URLSearchParams({ limit: PAGE })
    if (this.status) query.set("status", this.status)
    if (cursor) query.set("cursor", cursor)
    try {
      const { jobs, next_cursor: next } = await read(`jobs?${query}`, { signal: this._stop.signal })
      if (cursor === null) this._forgetWithin(jobs, next)
      for (const job of jobs) this._byId.set(job.id, job)
      if (cursor !== null || !this.isRead || next === null) {
        this._cursor = next
        this.isWhole = next === null
      }
      this.dispatchEvent(new Event("change"))
    } catch (error) {
      if (!this._stop.signal.aborted) this.dispatchEvent(Object.assign(new Event("failure"), { error }))
    }
  }

  // What the newest page should have and has not was deleted, or has another status now.
  _forgetWithin(jobs, next) {
    const oldest = next === null ? "" : jobs.at(-1).created_at
    for (const [id, job] of this._byId) if (job.created_at >= oldest) this._byId.delete(id)
  }

  async _listen() {
    try {
      await follow("events", {
        signal: this._stop.signal,
        tell: (event) => this._take(event),
        state: (connected) => {
          this.connected = connected
          this.dispatchEvent(new Event("connection"))
        },
      })
    } catch (error) {
      this.dispatchEvent(Object.assign(new Event("failure"), { error }))
    }
  }

  // What happened before, while nobody listened, is in the list. Older pages that were read stay.
  async _again() {
    await this._reading
    await this._read(null)
  }

  _take({ event, data }) {
    if (event === "jobs.ready") this._again()
    else if (event === "job.deleted") this._byId.delete(data.id)
    else if (event === "job.changed") {
      if (this.status && data.status !== this.status) this._byId.delete(data.id)
      else this._byId.set(data.id, data)
    }
    this.dispatchEvent(new Event("change"))
  }
}
