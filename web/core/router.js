// Which view the part of the address after # names: "#/jobs/ID?t=3.5&v=refined".

export function place() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?")
  return { parts: path.split("/").filter(Boolean).map(decoded), query: new URLSearchParams(query) }
}

// What is no escape stands for itself: an address that was cut off leads to a job that is not there, not nowhere.
function decoded(part) {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}

export const jobAddress = (id, query = "") => `#/jobs/${encodeURIComponent(id)}${query && `?${query}`}`

export function go(address) {
  location.hash = address
}

// Remembers what the view shows, without a step in the browser's history. A null is left out.
export function remember(changes) {
  const { parts, query } = place()
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === "") query.delete(name)
    else query.set(name, value)
  }
  const rest = query.size ? `?${query}` : ""
  const address = `#/${parts.map(encodeURIComponent).join("/")}${rest}`
  if (address !== location.hash) history.replaceState(history.state, "", address)
}
