// Who may have a stream of events. A browser opens six connections to a server of HTTP/1.1, for all of its tabs, and a
// stream keeps one: so tabs that are seen have at most three streams together, and tabs that nobody sees have none.

const PLACES = ["longtake-stream-1", "longtake-stream-2", "longtake-stream-3"]

// Calls `act(signal)` while this tab has one of the places, and gives what it resolves with; `signal` aborts when the tab
// is hidden, or when `signal` of the caller does. Gives `otherwise` at once where no place is free.
export async function inTurn(signal, act, otherwise) {
  if (document.hidden) return otherwise
  if (!navigator.locks) return whileSeen(signal, act) // plain HTTP from another machine
  for (const place of PLACES) {
    const answer = await navigator.locks.request(place, { ifAvailable: true }, async (lock) => lock && { value: await whileSeen(signal, act) })
    if (answer) return answer.value
  }
  return otherwise
}

async function whileSeen(signal, act) {
  const turn = new AbortController()
  const stop = () => { if (document.hidden || signal.aborted) turn.abort() }
  document.addEventListener("visibilitychange", stop)
  signal.addEventListener("abort", stop)
  try {
    return await act(turn.signal)
  } finally {
    document.removeEventListener("visibilitychange", stop)
    signal.removeEventListener("abort", stop)
  }
}
