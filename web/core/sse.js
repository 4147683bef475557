// Server-sent events by fetch: unlike EventSource it can send a key, and it says when a stream has ended for good.
import { Problem, send } from "./api.js"

const PAUSE = 1000
const LONGEST_PAUSE = 15000

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
    await rest(pause, signal)
    pause = Math.min(2 * pause, LONGEST_PAUSE)
  }
}

export function rest(milliseconds, signal) {
  return new Promise((done) => {
    const timer = setTimeout(done, milliseconds)
    signal?.addEventListener("abort", () => { clearTimeout(timer); done() }, { once: true })
  })
}

// WHATWG HTML, 9.2.6. Comments and `retry` are passed over.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader()
  let text = ""
  let event = {}
  for (;;) {
    const { value, done } = await reader.read()
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
