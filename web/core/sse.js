// Server-sent events by fetch: unlike EventSource it can send a key, and it says when a stream has ended for good.
import { Problem, send } from "./api.js"

const PAUSE = 1000
const LONGEST_PAUSE = 15000
const QUIET = 45000 // the server sends a comment each 15 s: after this the connection is dead, whatever the system says

// Calls `tell({event, data})` for each event until `signal` aborts or the server says that there are no more (204).
// Connects again after a failure, from the last event on. `state(connected)` tells which it is. Throws Problem where the
// server refuses for good.
export async function follow(path, { signal, tell, state = () => {} }) {
  let last = null
  let pause = PAUSE
  while (!signal.aborted) {
    let broken = false
    try {
      const headers = { Accept: "text/event-stream", ...(last && { "Last-Event-ID": last }) }
      const answer = await send(path, { headers, signal, cache: "no-store" })
      if (answer.status === 204) return
      state(true)
      for await (const event of events(answer.body)) {
        pause = PAUSE
        last = event.id ?? last
        tell(event)
      }
    } catch (error) {
      if (signal.aborted) return
      if (error instanceof Problem && [401, 403, 404].includes(error.status)) throw error
      broken = true
    }
    if (signal.aborted) return
    if (broken) state(false)
    await restUntilOnline(pause, signal)
    pause = Math.min(2 * pause, LONGEST_PAUSE)
  }
}

export function rest(milliseconds, signal) {
  return new Promise((done) => {
    const end = () => { clearTimeout(timer); signal?.removeEventListener("abort", end); done() }
    const timer = setTimeout(end, milliseconds)
    signal?.addEventListener("abort", end)
  })
}

// Nobody waits for the end of a pause when the network is back.
function restUntilOnline(milliseconds, signal) {
  return new Promise((done) => {
    const end = () => { removeEventListener("online", end); done() }
    addEventListener("online", end)
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
