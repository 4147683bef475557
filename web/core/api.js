// Requests to the API. Addresses are relative to the page, so that it works under a proxy's prefix. The key, where keys
// are used, is kept until the tab is closed and is never part of an address.

import { named } from "./format.js"

const KEY = "longtake-key"
export const session = new EventTarget() // tells "refused" when a key is needed, "asked" when somebody wants to enter one, and "changed" when there is another

export class Problem extends Error {
  // `body`: application/problem+json (RFC 9457)
  constructor(status, body) {
    super(body.detail ?? `the server answered ${status}`)
    this.status = status
    this.code = body.code ?? ""
    this.field = body.field ?? null
    this.fix = body.fix ?? null
    this.errors = body.errors?.length ? body.errors : [body] // an empty list: nothing of it is about a field
  }

  get text() {
    return withFix(this.message, this.fix)
  }
}

// "what is wrong: what to do". `fix` may be missing.
export const withFix = (text, fix) => named(fix ? `${text.replace(/\.$/, "")}: ${fix}` : text)

export function textOf(error) {
  if (!(error instanceof Problem)) return "The server cannot be reached."
  if (needsKey(error)) return key() ? "The service does not accept this API key." : "This service asks for an API key."
  return error.text
}

export const needsKey = (error) => error.status === 401

// Whether the same request may be answered otherwise in a moment.
export const isPassing = (error) => !(error instanceof Problem) || error.status >= 500

export const key = () => sessionStorage.getItem(KEY)

export function setKey(text) {
  if (text) sessionStorage.setItem(KEY, text)
  else sessionStorage.clear() // also what its owner wrote
  session.dispatchEvent(new Event("changed"))
}

export const urlOf = (path) => new URL(path, document.baseURI)

// The answer to a request with the key. Throws Problem, or what fetch throws where nothing answers.
export async function send(path, { headers = {}, body, ...options } = {}) {
  const text = key()
  const all = { ...headers }
  if (text) all.Authorization = `Bearer ${text}`
  if (body !== undefined) all["Content-Type"] = "application/json"
  const answer = await fetch(urlOf(path), {
    ...options, headers: all, body: body === undefined ? undefined : JSON.stringify(body),
  })
  if (answer.ok) return answer
  if (answer.status === 401) session.dispatchEvent(new Event("refused"))
  throw new Problem(answer.status, await answer.json().catch(() => ({})))
}

export async function read(path, options) {
  const answer = await send(path, options)
  return answer.status === 204 ? null : answer.json()
}

export const post = (path, body, options = {}) => read(path, { method: "POST", body, ...options })
export const patch = (path, body) => read(path, { method: "PATCH", body })
export const remove = (path) => send(path, { method: "DELETE", keepalive: true }) // also while the page is being closed
