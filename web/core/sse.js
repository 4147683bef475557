// Server-sent events by fetch: unlike EventSource it can send a key, and it says when a stream has ended for good.
import { Problem, send } from "./api.js"
import { inTurn } from "./turns.js"

const PAUSE = 1000
const LONGEST_PAUSE = 15000
const LOOK_EACH = 3000 // where other tabs have the streams
const LOOK_UNSEEN_EACH = 10000
const QUIET = 45000 // the server sends a comment each 15 s: after this the connection is dead, whatever the system says
const NO_TURN = Symbol("no turn")

// Calls `tell({event, data})` for each event until `signal` aborts or the server says that there are no more (204).
// Connects again after a failure, from the last event on. `state(connected)` tells which it is. Without a turn to have a
// stream, `look()` is called now and then to read what events would tell; true if there will be no more. Throws Problem
// where the server refuses for good.
export async function follow(path, { signal, tell, look, state = () => {} }) {
  let last = null
  let pause = PAUSE
  const listen = async (turn) => {
    const headers = { Accept: "text/event-stream", ...(last && { "Last-Event-ID": last }) }
    const answer = await send(path, { headers, signal: turn, cache: "no-store" })
    if (answer.status === 204) return true
    state(true)
    for await (const event of events(answer.body)) {
      pause = PAUSE
      last = event.id ?? last
      tell(event)
    }
    return false
  }
  while (!signal.aborted) {
    let next = null
    try {
      const outcome = await inTurn(signal, listen, NO_TURN)
      if (outcome === true || (outcome === NO_TURN && await look())) return
      if (outcome === NO_TURN) {
        state(true)
        next = document.hidden ? LOOK_UNSEEN_EACH : LOOK_EACH
      }
    } catch (error) {
      if (signal.aborted) return
      if (error instanceof Problem && [401, 403, 404].includes(error.status)) throw error
      if (error.name !== "AbortError") state(false) // else the tab was hidden
    }
    if (signal.aborted) return
    await restUnlessWoken(next ?? pause, signal)
    pause = next === null ? Math.min(2 * pause, LONGEST_PAUSE) : PAUSE
  }
}

export function rest(milliseconds, signal) {
  return new Promise((done) => {
    const end = () => { clearTimeout(timer); signal?.removeEventListener("abort", end); done() }
    const timer = setTimeout(end, milliseconds)
    signal?.addEventListener("abort", end)
  })
}

// Nobody waits for the end of a pause when the network is back, or when the tab is looked at again.
function restUnlessWoken(milliseconds, signal) {
  return new Promise((done) => {
    const end = () => {
      removeEventListener("online", end)
      document.removeEventListener("visibilitychange", seen)
      done()
    }
    const seen = () => { if (!document.hidden) end() }
    addEventListener("online", end)
    document.addEventListener("visibilitychange", seen)
    rest(milliseconds, signal).then(end)
  })
}

async function unlessQuiet(reader) {
  let isDead = false
  const timer = setTimeout(() => { isDead = true; reader.cancel() }, QUIET)
  const read = await reader.read().finally(() => clearTimeout(timer))
  if (isDead) throw new Error("nothing came for too long")
  return read
}

// WHATWG HTML, 9.2.6. Comments and `retry` are passed over.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader()
  let text = ""
  let event = {}
  for (;;) {
    const { value, done } = await unlessQuiet(reader)
    if (done) return
    text += value
    const lines = text.split("\n")
    text = lines.pop()
    for (const line of lines) {
      if (line === "") {
        if (event.data !== undefined) yield { ...event, data: JSON.parse(event.data) }
        event = {}
      } else {
        const [, name, content] = /^([^:]*):? ?(.*)$/.exec(line)
        if (name === "data") event.data = event.data === undefined ? content : `${event.data}\n${content}`
        else if (name === "id" || name === "event") event[name] = content
      }
    }
  }
}
