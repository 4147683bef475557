// The jobs that the gallery knows: pages of the list, and what one event stream tells of all of them.
import { read } from "../core/api.js"
import { follow } from "../core/sse.js"

const PAGE = 24
const MOST = 100 // jobs of one answer

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
    this._told = null // while all is read again: what came meanwhile
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

  // Reads on, until at least `count` are known or there are no more.
  more(count = 0) {
    if (this.isWhole || this._stop.signal.aborted) return Promise.resolve()
    return this._once(async () => {
      do await this._next(Math.min(MOST, Math.max(PAGE, count - this._byId.size)))
      while (!this.isWhole && this._byId.size < count)
    })
  }

  // One reading at a time; who asks meanwhile gets the one that runs.
  _once(read) {
    this._reading ??= read()
      .catch((error) => {
        if (!this._stop.signal.aborted) this.dispatchEvent(Object.assign(new Event("failure"), { error }))
      })
      .finally(() => { this._reading = null })
    return this._reading
  }

  async _page(cursor, limit) {
    const query = new URLSearchParams({ limit })
    if (this.status) query.set("status", this.status)
    if (cursor) query.set("cursor", cursor)
    return await read(`jobs?${query}`, { signal: this._stop.signal })
  }

  async _next(limit) {
    const { jobs, next_cursor: next } = await this._page(this._cursor, limit)
    for (const job of jobs) this._byId.set(job.id, job)
    this._goOnFrom(next)
  }

  _goOnFrom(cursor) {
    this._cursor = cursor
    this.isWhole = cursor === null
    this.dispatchEvent(new Event("change"))
  }

  // Reads all that is known again: what is not there any more was deleted, or has another status now. What is told
  // meanwhile is newer than what is read.
  async _again() {
    await this._reading
    await this._once(async () => {
      this._told = []
      const found = new Map()
      let cursor = null
      try {
        do {
          const { jobs, next_cursor: next } = await this._page(cursor, Math.min(MOST, Math.max(PAGE, this._byId.size - found.size)))
          for (const job of jobs) found.set(job.id, job)
          cursor = next
        } while (cursor !== null && found.size < this._byId.size)
        this._byId = found
      } finally {
        const told = this._told
        this._told = null
        for (const event of told) this._take(event)
      }
      this._goOnFrom(cursor)
    })
  }

  // The newest page only: this comes every few seconds.
  async _look() {
    const { jobs, next_cursor: next } = await this._page(null, PAGE)
    const oldest = next === null ? "" : jobs.at(-1).created_at
    for (const [id, job] of this._byId) if (job.created_at >= oldest) this._byId.delete(id)
    for (const job of jobs) this._byId.set(job.id, job)
    if (this.isRead) this.dispatchEvent(new Event("change"))
    else this._goOnFrom(next)
  }

  async _listen() {
    try {
      await follow("events", {
        signal: this._stop.signal,
        tell: (event) => this._take(event),
        look: () => this._look(),
        state: (connected) => {
          this.connected = connected
          this.dispatchEvent(new Event("connection"))
        },
      })
    } catch (error) {
      this.dispatchEvent(Object.assign(new Event("failure"), { error }))
    }
  }

  _take({ event, data }) {
    if (event === "jobs.ready") this._again() // what happened while nobody listened is in the list
    else if (this._told) this._told.push({ event, data })
    else if (event === "job.deleted") this._byId.delete(data.id)
    else if (event === "job.changed") {
      if (this.status && data.status !== this.status) this._byId.delete(data.id)
      else this._byId.set(data.id, data)
    }
    this.dispatchEvent(new Event("change"))
  }
}
