// The service in a few words, for the header. What waits is told to operators only: where keys are used, /readyz shows
// names to them alone, and so tells who may read /status.
import { key, read, urlOf } from "../core/api.js"
import { plural } from "../core/format.js"

// {state, text}; state: "away", "paused", "busy" or "ready". Throws what fetch throws where nothing answers.
export async function glance() {
  const headers = key() ? { Authorization: `Bearer ${key()}` } : {}
  const readiness = await (await fetch(urlOf("readyz"), { headers })).json() // 503 has the same body
  const mayReadStatus = readiness.workers.some(({ name }) => name !== null)
  return inWords(readiness, mayReadStatus ? await read("status", { cache: "no-store" }).catch(() => null) : null)
}

// `status`: the answer of /status; null where the caller may not read it.
export function inWords(readiness, status) {
  if (readiness.status !== "ready") return { state: "away", text: whatIsAway(readiness) }
  const makers = readiness.workers.filter(({ kind }) => kind !== "cpu")
  const busy = makers.filter(({ state }) => state === "busy").length
  const ready = makers.filter(({ state }) => state === "ready" || state === "busy").length
  const parts = [ready ? plural(ready, "worker") : "No worker"]
  if (busy) parts.push(`${busy} busy`)
  const queued = status?.jobs.queued ?? 0
  if (queued) parts.push(`${queued.toLocaleString("en")} queued`)
  if (readiness.paused) parts.push(pausedIn(status))
  const state = !ready ? "away" : readiness.paused ? "paused" : busy ? "busy" : "ready"
  return { state, text: parts.join(", ") }
}

function whatIsAway({ redis, storage }) {
  if (!redis.ok) return "Redis is away"
  return storage.ok ? "Not ready" : "The storage is away"
}

function pausedIn(status) {
  if (!status) return "paused"
  const all = status.paused.some(({ model, worker }) => model === null && worker === null)
  return all ? "all paused" : `${status.paused.map(({ model, worker }) => model ?? worker).join(" and ")} paused`
}
