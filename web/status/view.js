// The operators' view: "#/status". What workers make, what waits, how fast it goes, what is paused. Read again every two
// seconds while somebody looks.
import { read, textOf } from "../core/api.js"
import { el, setText } from "../core/dom.js"
import { ago, duration, plural } from "../core/format.js"
import { jobAddress } from "../core/router.js"
import { Table } from "./table.js"

const READ_EACH = 2000
const none = (number, text) => (number === null ? "" : text(number))

const WORKERS = {
  Worker: ({ name }) => name,
  Model: ({ model, kind }) => (model ? `${model}, ${kind}` : kind),
  State: ({ state, paused, reason }) => [paused ? `${state}, paused` : state, reason].filter(Boolean).join(": "),
  Making: ({ making }) => making.map(pieceText).join("; "),
  Job: ({ making: [piece] }) => (piece ? { text: piece.job_id, href: jobAddress(piece.job_id) } : ""),
  Device: ({ device }) => device,
  Since: ({ started_at: since }) => ago(since),
}
const QUEUES = {
  Pool: ({ pool }) => pool,
  Waiting: ({ waiting }) => Object.entries(waiting).filter(([, count]) => count).map(([name, count]) => `${count} ${name}`).join(", ") || "0",
  Longest: ({ waiting_seconds: seconds }) => none(seconds, duration),
  Queued: ({ queued_jobs: count }) => String(count),
  Begun: ({ begun_jobs: count }) => String(count),
  Work: ({ queue_seconds: seconds }) => none(seconds, duration),
  Workers: ({ workers, desired_workers: desired, unserved }) => `${workers}, ${desired} wanted${unserved.length ? `; nobody for ${unserved.join(" and ")}` : ""}`,
}
const RATES = {
  Model: ({ model }) => model,
  Lane: ({ lane }) => lane,
  "Chunks a second": ({ chunks_per_second: rate }) => rate.toFixed(2),
  "Frames a second": ({ frames_per_second: rate }) => rate.toFixed(1),
  "Seconds of video a second": ({ realtime_factor: rate }) => rate.toFixed(2),
}
const PAUSES = {
  Paused: ({ model, worker }) => model ?? worker ?? "everything",
  Since: ({ since }) => ago(since),
  "Goes on by": ({ model, worker }) => `longtake resume${model ? ` --model ${model}` : worker ? ` --worker ${worker}` : ""}`,
}

function pieceText({ lane, chunk, step, steps, seconds }) {
  const which = chunk === null ? lane : `${lane} chunk ${chunk + 1}`
  return `${which}${step === null ? "" : `, step ${step} of ${steps}`}, ${duration(seconds)}`
}

export class StatusView {
  constructor() {
    this.title = "Service"
    this._failure = el("p", { class: "reason", attributes: { role: "alert" } })
    this._summary = el("p", { class: "summary" })
    this._tables = {
      paused: new Table("Paused", PAUSES, "Nothing is paused."),
      workers: new Table("Workers", WORKERS, "There is no worker: jobs are accepted and wait."),
      queues: new Table("Queues", QUEUES, "Nothing waits, and nobody works."),
      rates: new Table("Speed in the last minute", RATES, "Nothing was made in the last minute."),
    }
    this._body = el("div", { class: "status", hidden: true }, this._summary, ...Object.values(this._tables).map(({ element }) => element))
    this.element = el("div", {}, el("div", { class: "heading" }, el("h1", { tabIndex: -1, textContent: "The service" })), this._failure, this._body)
    this._stop = new AbortController()
    this._timer = setInterval(() => { if (!document.hidden) this._read() }, READ_EACH)
    this._read()
  }

  close() {
    clearInterval(this._timer)
    this._stop.abort()
  }

  async _read() {
    if (this._reading) return
    this._reading = true
    try {
      this._show(await read("status", { signal: this._stop.signal, cache: "no-store" }))
      setText(this._failure, "")
    } catch (error) {
      if (!this._stop.signal.aborted) this._fail(error)
    } finally {
      this._reading = false
    }
  }

  // Who may not read it is not asked about again and again.
  _fail(error) {
    if (error.status === 401 || error.status === 403) clearInterval(this._timer)
    setText(this._failure, error.status === 403 ? "This page is for operators: it needs an API key of the scope admin." : textOf(error))
  }

  _show(status) {
    for (const [name, table] of Object.entries(this._tables)) table.update(status[name])
    const jobs = Object.entries(status.jobs).filter(([, count]) => count).map(([name, count]) => `${count.toLocaleString("en")} ${name}`)
    const webhooks = status.webhooks_pending ? ` ${plural(status.webhooks_pending, "webhook")} to be sent.` : ""
    setText(this._summary, `${jobs.length ? `Jobs: ${jobs.join(", ")}.` : "There are no jobs."}${webhooks}`)
    this._body.hidden = false
  }
}
